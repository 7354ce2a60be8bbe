"""Packed bodies are unpacked, within the body's limit and in small steps; others are refused."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

import pytest
from app_client import AppClient, Reply
from fake_service import REPLY, FakeService
from hypothesis import given
from hypothesis import strategies as st

from berth.server.content_encoding import Unpacker
from berth.server.errors import Malformed
from berth.server.settings import ServerSettings

ASK = json.dumps({"prompts": ["a"]}).encode()
ANSWER = {"results": [{"prompt": "a", "response": REPLY}]}


def bare_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return engine.compress(data) + engine.flush()


PACKED = {
    "gzip": gzip.compress(ASK),
    "x-gzip": gzip.compress(ASK),
    "GZIP": gzip.compress(ASK),
    "identity, gzip": gzip.compress(ASK),
    "deflate": zlib.compress(ASK),
    "identity": ASK,
}


def post(client: AppClient, encoding: str, body: bytes, path: str = "/generate") -> Reply:
    return client.post(path, body, {"content-encoding": encoding})


@pytest.mark.parametrize("encoding", PACKED)
def test_a_packed_body_is_read_as_the_plain_one(client: AppClient, encoding: str) -> None:
    assert post(client, encoding, PACKED[encoding]).json() == ANSWER


def test_several_gzips_in_a_row_and_padding_are_one_body(client: AppClient) -> None:
    body = gzip.compress(ASK[:5]) + gzip.compress(ASK[5:]) + b"\0" * 100
    assert post(client, "gzip", body).json() == ANSWER


def test_deflate_without_its_header_is_read_too(client: AppClient) -> None:
    assert post(client, "deflate", bare_deflate(ASK)).json() == ANSWER


@given(data=st.binary(max_size=3000), cuts=st.lists(st.integers(1, 40)), bare=st.booleans())
def test_it_does_not_matter_how_a_packed_body_is_cut(
    data: bytes, cuts: list[int], bare: bool
) -> None:
    for packed, unpacker in (
        (gzip.compress(data), Unpacker(gzip=True)),
        (bare_deflate(data) if bare else zlib.compress(data), Unpacker(gzip=False)),
    ):
        out, at = b"", 0
        for size in (*cuts, len(packed)):
            out += b"".join(unpacker.feed(packed[at : at + size]))
            at += size
        unpacker.finish()
        assert out == data


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "aws-chunked", "gz"])
@pytest.mark.parametrize("path", ["/generate", "/chat", "/v1/chat/completions"])
def test_another_encoding_is_415_and_says_what_is_read(
    client: AppClient, encoding: str, path: str
) -> None:
    reply = post(client, encoding, ASK, path)
    assert reply.status == 415
    assert reply.headers["accept-encoding"] == "gzip, deflate"
    assert encoding in reply.body.decode()


@pytest.mark.parametrize(
    ("encoding", "body", "why"),
    [
        ("gzip", ASK, "cannot be unpacked"),
        ("deflate", b"\x78\x9c" + b"\xff" * 9, "cannot be unpacked"),
        ("gzip", gzip.compress(ASK)[:-1], "ends too early"),
        ("deflate", zlib.compress(ASK)[:1], "ends too early"),
        ("gzip", gzip.compress(ASK) + b"xxxx", "cannot be unpacked"),
        ("deflate", zlib.compress(ASK) + b"x", "goes on after its end"),
        ("gzip", gzip.compress(b"") * 65, "goes on after its end"),
        ("gzip", gzip.compress(ASK)[:-8] + bytes(8), "cannot be unpacked"),  # wrong checksum
        ("gzip", b"", "empty"),
    ],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(
    client: AppClient, encoding: str, body: bytes, why: str
) -> None:
    reply = post(client, encoding, body)
    assert reply.status == 422
    assert why in reply.json()["detail"][0]["msg"]
    assert post(client, encoding, body, "/v1/completions").status == 400


def test_a_bomb_is_413_and_unpacked_no_further_than_the_limit(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    assert len(bomb) < 250_000
    taken: list[int] = []
    feed = Unpacker.feed

    def counted(self: Unpacker, data: bytes) -> Iterator[bytes]:
        for part in feed(self, data):
            taken.append(len(part))
            yield part

    monkeypatch.setattr(Unpacker, "feed", counted)
    with AppClient(service, ServerSettings(max_body_bytes=3_000_000)) as client:
        assert post(client, "gzip", bomb).status == 413
    assert taken == [1024 * 1024] * 3


def test_a_packed_body_that_never_unpacks_into_anything_is_413(service: FakeService) -> None:
    nothing = b"\x00\x00\x00\xff\xff" * 1000  # stored blocks of no bytes
    with AppClient(service, ServerSettings(max_body_bytes=3000)) as client:
        assert post(client, "deflate", nothing).status == 413


def test_what_goes_on_after_the_last_gzip_is_not_tried_for_ever() -> None:
    unpacker = Unpacker(gzip=True)
    with pytest.raises(Malformed, match="goes on after its end"):
        for _ in unpacker.feed(gzip.compress(b"") * 10_000):
            pass


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("path", ["/generate", "/chat", "/v1/completions", "/v1/chat/completions"])
def test_a_byte_order_mark_is_no_part_of_the_body(
    client: AppClient, path: str, encoding: str
) -> None:
    body = json.dumps(
        {
            "/generate": {"prompts": ["a"]},
            "/chat": {"prompt": "a"},
            "/v1/completions": {"prompt": "a"},
            "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
        }[path]
    ).encode()
    marked = b"\xef\xbb\xbf" + body
    packed = gzip.compress(marked) if encoding == "gzip" else marked
    reply = post(client, encoding, packed, path)
    assert reply.status == 200
    assert REPLY in reply.body.decode()


def test_only_one_byte_order_mark_is_taken_away(client: AppClient) -> None:
    assert client.post("/generate", b"\xef\xbb\xbf" * 2 + ASK).status == 422
