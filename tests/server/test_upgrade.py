"""An offer to change the protocol is ignored: the request is answered as HTTP/1.1."""

from __future__ import annotations

import pytest
from fake_service import REPLY, FakeService
from live_server import LiveServer
from raw_http import answers, connect, request

ASK = {"prompts": ["a"]}
# What java.net.http.HttpClient sends with its defaults.
H2C = (
    "Connection: Upgrade, HTTP2-Settings\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    "Upgrade: h2c\r\n"
)
OFFERS = {
    "h2c": H2C,
    "lower case": H2C.lower(),
    "curl": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "keep-alive too": "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n",
    "twice": "Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: h2c, foo/2\r\n",
    "websocket": (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    ),
    "tls": "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    "without connection": "Upgrade: h2c\r\n",
}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
def test_a_request_that_offers_another_protocol_keeps_its_body(
    live: LiveServer, offer: str, chunked: bool
) -> None:
    with connect(live.port) as connection:
        connection.sendall(request("/generate", ASK, offer, chunked=chunked))
        (answer,) = answers(connection, ["POST"])
    assert answer.status == 200
    assert answer.json() == {"results": [{"prompt": "a", "response": REPLY}]}
    assert "upgrade" not in answer.headers


@pytest.mark.parametrize("piece", [1, 7, 64])
def test_it_is_the_same_however_the_bytes_are_cut(live: LiveServer, piece: int) -> None:
    sent = request("/generate", ASK, H2C) + request("/generate", ASK, H2C, chunked=True)
    sent += request("/livez", extra=H2C) + request("/generate", ASK)
    with connect(live.port) as connection:
        for at in range(0, len(sent), piece):
            connection.sendall(sent[at : at + piece])
        got = answers(connection, ["POST", "POST", "GET", "POST"])
    assert [answer.status for answer in got] == [200] * 4
    assert got[0].json() == got[1].json() == got[3].json()
    assert got[2].json() == {"status": "alive"}


def test_what_is_pipelined_behind_an_offer_is_answered_in_order(
    live: LiveServer, service: FakeService
) -> None:
    service.pause = 0.001
    service.reply = lambda prompt: prompt.upper()
    prompts = [f"question {number}" for number in range(200)]
    sent = [
        request("/generate", {"prompts": [prompt]}, H2C if number % 3 else "", chunked=number % 2)
        for number, prompt in enumerate(prompts)
    ]
    with connect(live.port) as connection:
        connection.sendall(b"".join(sent))
        got = answers(connection, ["POST"] * len(sent))
    assert [answer.json()["results"][0]["response"] for answer in got] == [
        prompt.upper() for prompt in prompts
    ]


def test_the_connection_is_kept_after_an_offer_and_closed_where_that_was_asked_for(
    live: LiveServer,
) -> None:
    with connect(live.port) as connection:
        for offer in (H2C, OFFERS["websocket"], "", H2C):
            connection.sendall(request("/generate", ASK, offer))
            (answer,) = answers(connection, ["POST"])
            assert answer.status == 200
        connection.sendall(request("/generate", ASK, H2C.replace("Upgrade,", "Upgrade, close,")))
        (answer,) = answers(connection, ["POST"])
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert connection.recv(1) == b""


def test_a_stream_is_answered_too(live: LiveServer) -> None:
    with connect(live.port) as connection:
        connection.sendall(request("/generate", {**ASK, "stream": True}, H2C))
        (answer,) = answers(connection, ["POST"])
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    "framing",
    [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: two\r\n",
        "transfer-encoding: gzip\r\n",
    ],
)
def test_an_offer_opens_no_way_around_the_rules_of_framing(live: LiveServer, framing: str) -> None:
    with connect(live.port) as connection:
        connection.sendall(f"POST /generate HTTP/1.1\r\nhost: x\r\n{H2C}{framing}\r\n{{}}".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
