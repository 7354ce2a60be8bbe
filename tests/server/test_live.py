"""On a real connection: hang-ups cancel, streams flow, slow and endless heads are cut off."""

from __future__ import annotations

import json
import re
import socket
import threading

import httpx
import pytest
from fake_service import REPLY, FakeService
from live_server import LiveServer, wait_until

from berth.server import generate
from berth.server.connection import Chunks, GuardedConnection
from berth.server.settings import ServerSettings

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def _post(server: LiveServer, path: str, body: object) -> socket.socket:
    """Send a request and leave the connection to the test."""
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(raw)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(head.encode() + raw)
    return connection


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"prompts": ["a", "b"]}),
        ("/generate", {"prompts": ["a", "b"], "stream": True}),
        ("/chat", {"input_data": {"input_string": [HELLO["messages"]]}}),
        (CHAT, {**HELLO, "n": 2}),
        (CHAT, {**HELLO, "stream": True}),
        ("/v1/completions", {"prompt": ["a", "b"], "stream": True}),
    ],
)
@pytest.mark.parametrize("token", [1, 3])
def test_a_client_that_hangs_up_is_cancelled(
    live: LiveServer, service: FakeService, path: str, body: object, token: int
) -> None:
    service.hold_at = token
    connection = _post(live, path, body)
    wait_until(lambda: len(service.generations) > 0)
    if token > 1 and "stream" in json.dumps(body):
        assert b"200 OK" in connection.recv(4096)
    connection.close()
    wait_until(lambda: all(generation.cancelled for generation in service.generations))
    wait_until(lambda: live.lifecycle.in_flight == 0)


def test_a_client_that_does_not_read_is_given_up_after_the_requests_time(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "_LAST_WORD_SECONDS", 0.1)
    service.reply = lambda _: " ".join(["x" * 10_000] * 2000)  # more than all buffers hold
    with LiveServer(service, ServerSettings(port=0, request_timeout_seconds=0.5)) as server:
        connection = _post(server, "/generate", {"prompts": ["a"], "stream": True})
        wait_until(lambda: any(generation.cancelled for generation in service.generations))
        wait_until(lambda: server.lifecycle.in_flight == 0)
        assert httpx.get(f"{server.url}/livez", timeout=10).status_code == 200
        connection.close()


def test_a_stream_arrives_token_by_token(live: LiveServer, service: FakeService) -> None:
    service.hold_at = 3
    body = {"prompts": ["a"], "stream": True}
    with httpx.stream("POST", f"{live.url}/generate", json=body, timeout=10) as reply:
        lines = (line for line in reply.iter_lines() if line)
        early = [next(lines), next(lines)]
        assert live.loop is not None
        live.loop.call_soon_threadsafe(service.go.set)
        rest = list(lines)
    texts = [json.loads(line.removeprefix("data: "))["response"] for line in (*early, *rest[:-1])]
    assert "".join(texts) == REPLY
    assert rest[-1] == "data: [DONE]"


def test_a_streams_tokens_are_written_past_asgi_and_are_the_same(
    live: LiveServer, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"prompt": "a", "stream": True, "stream_options": {"include_usage": True}}

    def events() -> list[str]:
        reply = httpx.post(f"{live.url}/v1/completions", json=body, timeout=10)
        assert reply.status_code == 200
        # What differs between two calls.
        return re.sub(r'"(id|created)":("[^"]*"|[0-9]+)', "", reply.text).split("\n\n")

    written: list[bytes] = []
    write = Chunks.write
    monkeypatch.setattr(
        Chunks, "write", lambda self, data: (written.append(data), write(self, data))
    )
    service.pause = 0.01
    direct = events()
    assert len(written) == len(REPLY.split()) - 2  # not the first, nor the last
    monkeypatch.setattr(Chunks, "open", False)
    assert events() == direct
    assert len(written) == len(REPLY.split()) - 2


def test_streams_on_one_connection_keep_their_order(live: LiveServer, service: FakeService) -> None:
    """The second is asked for before the first has begun to be answered."""
    service.pause = 0.02
    raw = json.dumps({"prompts": ["a"], "stream": True}).encode()
    head = "POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%s\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        first = (head % (len(raw), "")).encode() + raw
        second = (head % (len(raw), "connection: close\r\n")).encode() + raw
        connection.sendall(first + second)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    one, two = answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    texts = [
        re.findall(rb'"response":"([^"]*)"', part.partition(b"\r\n\r\n")[2]) for part in (one, two)
    ]
    assert b"".join(texts[0]) == b"".join(texts[1]) == REPLY.encode()
    assert one.endswith(b"0\r\n\r\n")
    assert two.endswith(b"0\r\n\r\n")


def test_one_clients_bad_body_leaves_anothers_stream_untouched(
    live: LiveServer, service: FakeService
) -> None:
    service.hold_at = 2
    replies: list[httpx.Response] = []
    body = {"prompts": ["a"], "stream": True}
    reader = threading.Thread(
        target=lambda: replies.append(httpx.post(f"{live.url}/generate", json=body, timeout=20))
    )
    reader.start()
    wait_until(lambda: len(service.generations) == 1)
    for bad in (b"[" * 20_000, b'{"prompts": ["\xff"]}', b"x" * 1_000_000):
        assert httpx.post(f"{live.url}/generate", content=bad, timeout=10).status_code == 422
    assert live.loop is not None
    live.loop.call_soon_threadsafe(service.go.set)
    reader.join(10)
    assert replies[0].text.endswith("data: [DONE]\n\n")
    assert not service.generations[0].cancelled


def test_a_body_announced_too_large_is_refused_unread(live: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(
            b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_head_without_end_is_cut_off(live: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nx: ")
        with pytest.raises(OSError):  # reset, or a broken pipe
            connection.sendall(b"a" * 50_000_000)


def test_a_head_that_takes_too_long_is_cut_off(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GuardedConnection, "HEAD_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhos")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert connection.recv(4096) == b""


def test_a_kept_connection_answers_again(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.Client(base_url=live.url) as client:
        for _ in range(3):
            assert client.get("/livez").status_code == 200
            assert client.post("/generate", json={"prompts": ["x"]}).status_code == 200


def test_an_answer_tells_the_time_at_which_it_was_given(live: LiveServer) -> None:
    with httpx.Client(base_url=live.url, timeout=10) as client:
        dates = []
        for second in (1_700_000_000, 1_700_000_000, 1_700_000_061):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("berth.server.connection.time.time", lambda now=second: now + 0.9)
                dates.append(client.get("/livez").headers["date"])
    assert dates == ["Tue, 14 Nov 2023 22:13:20 GMT"] * 2 + ["Tue, 14 Nov 2023 22:14:21 GMT"]


def test_what_is_no_http_is_refused(live: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01\x00\xa5 hello\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
