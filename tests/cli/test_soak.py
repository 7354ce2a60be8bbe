"""The soak tells a kept promise from a broken one, and runs against a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soak.load import Calls
from benchmarks.soak.streams import Call, Reply, ask
from berth.cli.http_client import Target
from e2e.random_model import random_model

ROOT = Path(__file__).parents[2]
STREAM = Call(path="/v1/completions", body={"stream": True})
PIECE = 'data: {"choices": [{"index": 0, "text": "ab", "finish_reason": %s}]}\n\n'


def answered(sent: str, call: Call = STREAM, head: str = "200 OK") -> Reply:
    """What `ask` makes of a server that sends this and closes."""

    async def main() -> Reply:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {head}\r\ncontent-type: text/event-stream\r\n\r\n".encode())
            writer.write(sent.encode())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port: int = server.sockets[0].getsockname()[1]
            return await ask(Target("http", "127.0.0.1", port), call)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "whole", "told", "error"),
    [
        (PIECE % "null" + PIECE % '"length"' + "data: [DONE]\n\n", True, False, None),
        (PIECE % '"length"', False, False, "the stream ended without [DONE]"),
        (PIECE % "null" + "data: [DONE]\n\n", False, False, "1 answers have no finish reason"),
        (PIECE % "null" + 'data: {"error": {"message": "gone"}}\n\n', False, True, "gone"),
        ("data: {}\n\ndata: [DONE]\n\n", False, False, "no finish reason"),
        ("data: [\n\n", False, False, "shape"),
    ],
)
def test_a_stream_is_whole_only_with_its_end_and_its_reason(
    sent: str, whole: bool, told: bool, error: str | None
) -> None:
    reply = answered(sent)
    assert (reply.whole, reply.told) == (whole, told)
    assert (reply.error is None) if error is None else (error in str(reply.error))


def test_a_client_that_gives_up_is_no_error() -> None:
    reply = answered(
        PIECE % "null" * 9, Call(path="/v1/completions", body={"stream": True}, events=3)
    )
    assert (reply.whole, reply.hung_up) == (True, True)


def test_a_refusal_is_told() -> None:
    reply = answered('{"detail": "full"}', head="429 Too Many Requests")
    assert (reply.whole, reply.told, reply.error) == (False, True, "the server refused (429): full")


def test_the_mix_has_every_kind_and_fits_the_context() -> None:
    calls = Calls("m", 512, "seed")
    mix = [call for call, _ in zip(calls, range(2000), strict=False)]
    assert {call.path for call in mix} == {
        "/v1/completions", "/v1/chat/completions", "/generate", "/chat",
    }  # fmt: skip
    assert min(calls.lengths) == 1
    assert max(calls.lengths) > 500
    for call in mix:
        prompt = call.body.get("prompt")
        if isinstance(prompt, list) and isinstance(prompt[0], int):
            assert len(prompt) + call.body["max_tokens"] <= 512
    gave_up = sum(call.events is not None or call.seconds is not None for call in mix)
    assert 0.05 < gave_up / len(mix) < 0.15


def test_a_short_soak_of_a_real_server_keeps_every_promise(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model")
    figures = tmp_path / "figures.json"
    wish = ["--minutes=0.05", "--streams=4", "--disconnects=20", "--kills=2", "--dtype=float32"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", str(folder), *wish, "--tokens=60",
         "--serve-option=--threads=1", f"--json={figures}", f"--log={tmp_path / 'log'}"],
        cwd=ROOT, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    parts: dict[str, Any] = json.loads(figures.read_text())
    assert all(part["kept"] for part in parts.values())
    found = {name: part["report"] for name, part in parts.items()}
    assert found["load"]["requests"] > 4
    assert found["load"]["errors"] == {}
    assert len(found["load"]["samples"]) >= 2
    assert found["disconnects"]["disconnects"] == 20
    assert set(found["disconnects"]["left"].values()) == {0.0}
    kills = found["SIGKILL float32"]
    assert (kills["strikes"], kills["restarts"], kills["equal"]) == (2, 2, 16)
