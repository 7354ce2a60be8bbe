"""A server double for the clients: real sockets, hand-written HTTP, misbehaviour on demand."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Double:
    """What the double does, and what it saw. `port` is set once it listens."""

    port: int = 0
    pieces: tuple[str, ...] = ("The", " capital", " is", " Paris", ".")
    pause: float = 0.0  # seconds between events
    cut_after: int | None = None  # events, then the connection closes
    error_after: int | None = None  # events, then an error event
    refuse: tuple[int, bytes] | None = None  # status and body instead of any completion
    counts_tokens: bool = True  # include_usage is honoured
    context: int | None = None  # max_model_len of its model
    bytewise: bool = False  # every byte in a chunk of its own
    tokens_per_event: int = 1
    endless: bool = False
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self, path: str) -> list[Any]:
        """Bodies of the requests to `path`, in order of arrival."""
        return [body for where, _, body in self.requests if where == path]

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            path = head[0].split()[1]
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            raw = await reader.readexactly(int(headers.get("content-length", 0)))
            body = json.loads(raw) if raw else None
            self.requests.append((path, headers, body))
            if path == "/v1/models":
                tiny = {"id": "tiny", "max_model_len": self.context}
                self._whole(writer, 200, json.dumps({"object": "list", "data": [tiny]}).encode())
            elif self.refuse is not None:
                self._whole(writer, *self.refuse)
            else:
                await self._stream(writer, path, body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            writer.close()

    def _whole(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} -\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    async def _stream(self, writer: asyncio.StreamWriter, path: str, body: Any) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        asked = body.get("max_tokens") or (body.get("parameters") or {}).get("max_gen_len")
        count = asked // self.tokens_per_event if asked else len(self.pieces)
        index = 0
        while index < count or self.endless:
            if index == self.cut_after:
                writer.transport.abort()
                return
            if index == self.error_after:
                died = "the engine died"
                kaito = path == "/generate"
                await self._event(
                    writer, {"detail": died} if kaito else {"error": {"message": died}}
                )
                break
            last = index == count - 1
            reason = None if not last else "length" if asked else "stop"
            await self._event(writer, self._piece(path, index, reason))
            await asyncio.sleep(self.pause)
            index += 1
        else:
            if self.counts_tokens and (body.get("stream_options") or {}).get("include_usage"):
                await self._event(writer, {"choices": [], "usage": self._usage(body, count)})
        await self._write(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")

    def _usage(self, body: Any, count: int) -> dict[str, int]:
        """A token a character of a prompt, ten a message of a chat."""
        prompt = len(body["prompt"]) if "prompt" in body else 10 * len(body["messages"])
        completion = count * self.tokens_per_event
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def _piece(self, path: str, index: int, reason: str | None) -> dict[str, object]:
        text = self.pieces[index % len(self.pieces)]
        if path == "/generate":
            return {"index": 0, "response": text} | ({"finish_reason": reason} if reason else {})
        inside = {"delta": {"content": text}} if "chat" in path else {"text": text}
        return {"choices": [{"index": 0, **inside, "finish_reason": reason}], "usage": None}

    async def _event(self, writer: asyncio.StreamWriter, event: dict[str, object]) -> None:
        await self._write(writer, f"data: {json.dumps(event)}\n\n".encode())

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        parts = [bytes((byte,)) for byte in data] if self.bytewise else [data]
        for part in parts:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()


@contextmanager
def serving(double: Double) -> Iterator[Double]:
    """Run the double in a thread of its own."""
    listening = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(double.serve_one, "127.0.0.1", 0)
        double.port = server.sockets[0].getsockname()[1]
        listening.set()
        await stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert listening.wait(10)
        yield double
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
