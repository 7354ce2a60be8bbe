"""The HTTP client reads what servers really send, and says what is wrong with the rest."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.cli.http_client import (
    BrokenAnswer,
    EventSplitter,
    Target,
    _Chunked,
    bearer,
    error_sentence,
    parse_url,
)


def chunked(body: bytes, sizes: list[int]) -> bytes:
    wire, at = b"", 0
    for size in sizes:
        if part := body[at : at + size]:
            wire += b"%x\r\n%b\r\n" % (len(part), part)
        at += size
    if rest := body[at:]:
        wire += b"%X;ext=1\r\n%b\r\n" % (len(rest), rest)
    return wire + b"0\r\nx-trailer: 1\r\n\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(1, 9)), st.lists(st.integers(0, 300)))
def test_a_chunked_body_is_the_same_wherever_the_network_cuts_it(
    body: bytes, sizes: list[int], cuts: list[int]
) -> None:
    decoder = _Chunked()
    out = b"".join(decoder.feed(part) for part in pieces(chunked(body, sizes), cuts))
    assert out == body
    assert decoder.done


def test_a_chunked_body_without_its_end_is_not_done() -> None:
    decoder = _Chunked()
    assert decoder.feed(b"5\r\nhello\r\n") == b"hello"
    assert not decoder.done


def test_a_malformed_chunk_is_refused() -> None:
    with pytest.raises(BrokenAnswer, match="malformed chunk"):
        _Chunked().feed(b"hello\r\n")


EVENTS = b": hello\n\ndata: one\n\nevent: x\ndata: two\ndata: lines\n\ndata:three\n\n: ping\n\n"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 300)))
def test_events_are_the_same_wherever_the_network_cuts_them(end: bytes, cuts: list[int]) -> None:
    splitter = EventSplitter()
    wire = EVENTS.replace(b"\n", end) + b"data: unfinished"
    events = [event for part in pieces(wire, cuts) for event in splitter.feed(part)]
    assert events == [b"one", b"two\nlines", b"three"]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("localhost:5000", Target("http", "localhost", 5000)),
        ("http://h:8000/v1/", Target("http", "h", 8000)),
        ("https://h/models/tiny", Target("https", "h", 443, "/models/tiny")),
        ("http://[::1]:5000", Target("http", "::1", 5000)),
    ],
)
def test_an_address_may_be_written_as_people_write_it(text: str, target: Target) -> None:
    assert parse_url(text) == target


@pytest.mark.parametrize(
    "text", ["", "ftp://h", "http://", "http://h:x", "http://u@h", "http://h?a"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="http://localhost:5000"):
        parse_url(text)


def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it() -> None:
    assert bearer("first, second") == {"authorization": "Bearer first"}
    assert bearer(None) == {}
    with pytest.raises(ValueError, match="printable ASCII") as refused:
        bearer("se cret\r\nx: y")
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"no such model","type":"x"}}',
        b'{"detail":"no such model"}',
        b'{"message":"no such model"}',
        b'{"error":"no such model"}',
        b'{"detail":[{"msg":"no such model"}]}',
    ],
)
def test_the_servers_own_sentence_is_shown_in_any_dialect(body: bytes) -> None:
    assert error_sentence(body, 404) == "the server refused (404): no such model"


def test_an_error_without_a_sentence_shows_its_status() -> None:
    assert error_sentence(b"<html>", 502) == "the server refused with status 502"
