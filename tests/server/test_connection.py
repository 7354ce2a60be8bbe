"""How a connection ends, and in what order: pipelines, heads, clients that stop writing."""

from __future__ import annotations

import json
import re
import socket
import threading
from typing import Any

import httpx
import openai
import pytest
import requests
from fake_service import REPLY, FakeService
from live_server import LiveServer, wait_until
from raw_http import answers, connect, everything, request

from berth.server.connection import Chunks, GuardedConnection
from berth.server.settings import ServerSettings

ASK: dict[str, Any] = {"prompts": ["a"]}
STREAM = {**ASK, "stream": True}
LIMIT = GuardedConnection.MAX_HEAD_BYTES


def head_of(size: int) -> bytes:
    """A GET whose head has exactly so many bytes."""
    start = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-filling: "
    return start + b"y" * (size - len(start) - 4) + b"\r\n\r\n"


def test_thousands_of_pipelined_posts_are_answered_in_order(
    live: LiveServer, service: FakeService
) -> None:
    service.reply = lambda prompt: prompt.upper()
    count = 3000
    bodies = [{"prompts": [f"q{number}"], "stream": number % 50 == 0} for number in range(count)]
    sent = b"".join(request("/generate", body) for body in bodies)
    assert len(sent) > 4 * LIMIT
    with connect(live.port, 60) as connection:
        writer = threading.Thread(target=connection.sendall, args=(sent,))
        writer.start()
        got = answers(connection, ["POST"] * count)
        writer.join(20)
    assert [answer.status for answer in got] == [200] * count
    for number, (body, answer) in enumerate(zip(bodies, got, strict=True)):
        if body["stream"]:
            assert f'"response":"Q{number}"'.encode() in answer.body
            assert answer.body.endswith(b"data: [DONE]\n\n")
        else:
            assert answer.json()["results"][0]["response"] == f"Q{number}"


def test_a_pipeline_is_read_no_faster_than_it_is_answered(
    live: LiveServer, service: FakeService
) -> None:
    service.hold_at = 1
    sent = request("/generate", ASK)
    with connect(live.port) as connection:
        connection.settimeout(1.0)
        with pytest.raises(TimeoutError):  # the server stops reading, so writing stops
            connection.sendall(sent * (100_000_000 // len(sent)))
        (held,) = live.server_connections()
        assert len(held.pipeline) < 10_000
    assert live.loop is not None
    live.loop.call_soon_threadsafe(service.go.set)


@pytest.mark.parametrize("piece", [1, 3000, 10**6])
@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 431), (98_000, 431)])
def test_a_heads_size_counts_and_not_how_it_is_cut(
    live: LiveServer, size: int, status: int, piece: int
) -> None:
    sent = head_of(size)
    if piece == 1:  # its last bytes one by one
        pieces = [sent[:-3], *(sent[at : at + 1] for at in range(len(sent) - 3, len(sent)))]
    else:
        pieces = [sent[at : at + piece] for at in range(0, len(sent), piece)]
    with connect(live.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in pieces:
            connection.sendall(part)
        (answer,) = answers(connection, ["GET"])
        assert answer.status == status
        if status == 431:
            assert b"larger than 65536 bytes" in answer.body
            assert connection.recv(1) == b""


def test_many_heads_within_the_limit_pass_in_one_segment(live: LiveServer) -> None:
    with connect(live.port) as connection:
        connection.sendall(head_of(LIMIT) * 3)
        assert [one.status for one in answers(connection, ["GET"] * 3)] == [200] * 3


WRONG = {
    "head too large": (head_of(100_000), 431),
    "no HTTP": (b"\x16\x03\x01\x00 hello\r\n\r\n", 400),
    "bad method": (b"G@T / HTTP/1.1\r\n\r\n", 400),
    "bad chunk": (
        b"POST /generate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        400,
    ),
    "connect": (b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n", 400),
    "two lengths": (
        b"POST /generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n"
        b"content-length: 2\r\n\r\n",
        400,
    ),
}


@pytest.mark.parametrize(("wrong", "status"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_answered_after_what_came_before_it(
    live: LiveServer, service: FakeService, wrong: bytes, status: int
) -> None:
    service.pause = 0.02
    before = [request("/generate", STREAM), request("/generate", ASK)]
    with connect(live.port) as connection:
        connection.sendall(b"".join(before) + wrong + request("/livez"))
        stream, plain, last = answers(connection, ["POST", "POST", "GET"])
        assert connection.recv(1) == b""
    assert stream.body.endswith(b"data: [DONE]\n\n")
    assert plain.json()["results"][0]["response"] == REPLY
    assert last.status == status
    assert last.headers["connection"] == "close"


def test_a_head_that_waits_behind_a_long_stream_is_not_late(
    live: LiveServer, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stream takes longer than a head may; a busy client still sends its rest in that time.
    monkeypatch.setattr(GuardedConnection, "HEAD_SECONDS", 2.0)
    service.pause = 0.7
    second = request("/generate", ASK)
    with connect(live.port) as connection:
        connection.sendall(request("/generate", STREAM) + second[:20])
        (stream,) = answers(connection, ["POST"])
        connection.sendall(second[20:])
        (plain,) = answers(connection, ["POST"])
    assert stream.body.endswith(b"data: [DONE]\n\n")
    assert plain.status == 200


def test_trailers_are_no_headers_and_have_the_limit_of_a_head(live: LiveServer) -> None:
    start = request("/generate", ASK, chunked=True).removesuffix(b"\r\n")
    with connect(live.port) as connection:
        connection.sendall(start + b"x-request-id: forged\r\n\r\n")
        (answer,) = answers(connection, ["POST"])
        assert answer.status == 200
        assert answer.headers["x-request-id"] != "forged"
    with connect(live.port) as connection:
        connection.sendall(start)
        with pytest.raises(OSError):
            connection.sendall(b"x: " + b"a" * 50_000_000)
    assert httpx.get(f"{live.url}/livez", timeout=10).status_code == 200


@pytest.mark.parametrize("body", [ASK, STREAM], ids=["plain", "stream"])
@pytest.mark.parametrize("token", [1, 3])
def test_a_client_that_only_stops_writing_is_answered(
    live: LiveServer, service: FakeService, body: object, token: int
) -> None:
    service.hold_at = token
    with connect(live.port) as connection:
        connection.sendall(request("/generate", body))
        connection.shutdown(socket.SHUT_WR)
        wait_until(lambda: len(service.generations) == 1)
        assert not select_readable(connection, 0.3) or token > 1
        assert live.loop is not None
        live.loop.call_soon_threadsafe(service.go.set)
        raw = everything(connection)
    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\0" not in raw
    if body is ASK:
        assert json.loads(raw.partition(b"\r\n\r\n")[2])["results"][0]["response"] == REPLY
    else:
        assert raw.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    wait_until(lambda: not live.server_connections())


def select_readable(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connection.settimeout(20)


def test_a_client_that_stops_writing_is_answered_all_that_it_asked(
    live: LiveServer, service: FakeService
) -> None:
    service.pause = 0.01
    unfinished = request("/generate", ASK)[:-3]
    with connect(live.port) as connection:
        connection.sendall(request("/generate", STREAM) + request("/generate", ASK) * 2)
        connection.sendall(unfinished)
        connection.shutdown(socket.SHUT_WR)
        got = answers(connection, ["POST"] * 3)
        assert connection.recv(1) == b""
    assert got[0].body.endswith(b"data: [DONE]\n\n")
    assert [one.json()["results"][0]["response"] for one in got[1:]] == [REPLY] * 2
    wait_until(lambda: live.lifecycle.in_flight == 0)


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", request("/generate", ASK)[:-1]])
def test_a_client_that_stops_writing_before_it_asked_is_left(live: LiveServer, sent: bytes) -> None:
    with connect(live.port) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    wait_until(lambda: not live.server_connections())


def test_where_the_kernel_cannot_tell_a_client_that_stops_writing_counts_as_gone(
    live: LiveServer, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_INFO")
    service.hold_at = 1
    with connect(live.port) as connection:
        connection.sendall(request("/generate", ASK))
        connection.shutdown(socket.SHUT_WR)
        assert everything(connection) == b""
    wait_until(lambda: live.lifecycle.in_flight == 0)


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR, None])
@pytest.mark.parametrize("body", [ASK, STREAM], ids=["plain", "stream"])
def test_a_client_that_is_gone_altogether_is_not_taken_for_one_that_listens(
    live: LiveServer, service: FakeService, body: object, how: int | None
) -> None:
    service.hold_at = 1
    connection = connect(live.port)
    connection.sendall(request("/generate", body))
    wait_until(lambda: len(service.generations) == 1)
    if how is not None:
        connection.shutdown(how)
    connection.close()
    wait_until(lambda: service.generations[0].cancelled, 5)
    wait_until(lambda: live.lifecycle.in_flight == 0)


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(live: LiveServer) -> None:
    with connect(live.port) as connection:
        connection.sendall(request("/generate", STREAM, version="1.0"))
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    with connect(live.port) as connection:
        connection.sendall(request("/generate", STREAM))
        (framed,) = answers(connection, ["POST"])
    assert body == framed.body


def test_http_1_0_gets_its_stream_token_by_token(
    live: LiveServer, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    past_asgi: list[bytes] = []
    write = Chunks.write
    monkeypatch.setattr(
        Chunks, "write", lambda self, data: (past_asgi.append(data), write(self, data))
    )
    service.hold_at = 3
    with connect(live.port) as connection:
        connection.sendall(request("/generate", STREAM, version="1.0"))
        early = b""
        while early.count(b"data: ") < 2:
            early += connection.recv(65536)
        assert live.loop is not None
        live.loop.call_soon_threadsafe(service.go.set)
        whole = early + everything(connection)
    assert whole.endswith(b"data: [DONE]\n\n")
    assert past_asgi
    assert all(part in whole for part in past_asgi)
    texts = re.findall(rb'"response":"([^"]*)"', whole)
    assert b"".join(texts) == REPLY.encode()


@pytest.mark.parametrize("keep", ["", "connection: keep-alive\r\n"])
def test_http_1_0_gets_a_plain_answer_with_its_length(live: LiveServer, keep: str) -> None:
    extra = keep + "expect: 100-continue\r\n"
    with connect(live.port) as connection:
        connection.sendall(request("/generate", ASK, extra, version="1.0"))
        raw = everything(connection)
    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["results"][0]["response"] == REPLY


LARGE = b'{"prompts": ["' + b"x" * 12_000_000 + b'"]}'


@pytest.fixture
def strict(service: FakeService) -> Any:
    """A server that takes bodies of 100 kB."""
    with LiveServer(service, ServerSettings(port=0, max_body_bytes=100_000)) as server:
        yield server


def test_a_client_that_writes_it_all_before_it_reads_sees_the_413(strict: LiveServer) -> None:
    for chunked in (False, True):
        with connect(strict.port) as connection:
            connection.sendall(request("/generate", LARGE, chunked=chunked))
            (answer,) = answers(connection, ["POST"])
            assert answer.status == 413
            assert answer.headers["connection"] == "close"
            assert "100000 bytes" in answer.json()["detail"]
            assert connection.recv(1) == b""


def test_httpx_sees_the_413(strict: LiveServer) -> None:
    url = f"{strict.url}/generate"
    for content in (LARGE, (LARGE[at : at + 65536] for at in range(0, len(LARGE), 65536))):
        with httpx.Client(timeout=20) as client:
            assert client.post(url, content=content).status_code == 413
            assert client.get(f"{strict.url}/livez").status_code == 200


def test_requests_sees_the_413(strict: LiveServer) -> None:
    reply = requests.post(f"{strict.url}/generate", data=LARGE, timeout=20)
    assert reply.status_code == 413


def test_openais_sdk_sees_the_413(strict: LiveServer) -> None:
    client = openai.OpenAI(base_url=f"{strict.url}/v1", api_key="none", max_retries=0)
    with client, pytest.raises(openai.APIStatusError) as caught:
        client.completions.create(model="fake", prompt="x" * 12_000_000)
    assert caught.value.status_code == 413
    assert caught.value.code == "request_too_large"  # type: ignore[attr-defined]


def test_a_client_that_waits_for_100_continue_sends_nothing_of_it(strict: LiveServer) -> None:
    head = (
        b"POST /generate HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n"
        b"content-length: 12000000\r\n\r\n"
    )
    with connect(strict.port) as connection:
        connection.sendall(head)
        (answer,) = answers(connection, ["POST"])
    assert answer.status == 413


def test_a_client_that_never_stops_writing_is_cut_off(
    strict: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedConnection, "LINGER_BYTES", 1_000_000)
    head = b"POST /generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n"
    with connect(strict.port) as connection:
        connection.sendall(head)
        with pytest.raises(OSError):
            connection.sendall(b"x" * 100_000_000)


def test_a_client_that_neither_writes_nor_closes_is_cut_off(
    strict: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedConnection, "LINGER_SECONDS", 0.1)
    with connect(strict.port) as connection:
        connection.sendall(request("/generate", LARGE)[:200_000])
        wait_until(lambda: len(strict.server_connections()) == 1)
        wait_until(lambda: not strict.server_connections())


def test_a_body_that_nobody_reads_is_waited_for_no_longer_than_that(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedConnection, "LINGER_SECONDS", 0.1)
    sent = request("/nothing", {"prompts": ["a" * 1000]})
    with connect(live.port) as connection:
        connection.sendall(sent[:-10])
        (answer,) = answers(connection, ["POST"])
        assert answer.status == 404
        assert connection.recv(1) == b""
    with connect(live.port) as connection:  # one that ends in time costs no connection
        connection.sendall(sent)
        (answer,) = answers(connection, ["POST"])
        connection.sendall(request("/livez"))
        assert answers(connection, ["GET"])[0].status == 200


@pytest.mark.parametrize("behind", [1, 5, 40])
def test_a_client_that_is_gone_is_not_answered_from_its_pipeline(
    live: LiveServer, service: FakeService, caplog: pytest.LogCaptureFixture, behind: int
) -> None:
    service.hold_at = 3
    connection = connect(live.port)
    connection.sendall(request("/generate", STREAM) + request("/generate", ASK) * behind)
    wait_until(lambda: len(service.generations) == 1)
    assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    connection.close()
    assert live.loop is not None
    if behind >= GuardedConnection.MAX_PIPELINED:  # nothing is read, so only writing tells
        live.loop.call_soon_threadsafe(service.go.set)
    else:
        wait_until(lambda: service.generations[0].cancelled)
    wait_until(lambda: not live.server_connections())
    wait_until(lambda: live.lifecycle.in_flight == 0)
    assert len(service.generations) <= 2
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
