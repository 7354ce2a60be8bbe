"""Calls an app without a network: plain ASGI, so that nothing stands between test and server.

Every answer is held to the app's own OpenAPI document, whatever else a test looks at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api_document import Document
from fake_service import FakeService
from fastapi import FastAPI

from berth.server.app import create_app
from berth.server.keys import Keys
from berth.server.lifecycle import Lifecycle
from berth.server.metrics import Metrics
from berth.server.settings import ServerSettings
from berth.serving.models import Model, Models


@dataclass
class Reply:
    """A complete answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: list[bytes] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of every server-sent event; [DONE] as that text."""
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == ""
        assert all(block.startswith("data: ") for block in blocks)
        data = [block.removeprefix("data: ") for block in blocks]
        return [text if text == "[DONE]" else json.loads(text) for text in data]


class AppClient:
    """One app and a loop to call it in. Each call is a whole request and its whole answer."""

    def __init__(
        self,
        service: FakeService,
        settings: ServerSettings | None = None,
        app: FastAPI | None = None,
        peer: tuple[str, int] = ("127.0.0.1", 50000),
        aliases: tuple[str, ...] = (),
        keys: Keys | None = None,
        others: Sequence[FakeService] = (),
    ) -> None:
        self.lifecycle = Lifecycle()
        self.metrics = Metrics()
        self.app = app or create_app(
            Models([Model(each) for each in (service, *others)], aliases),
            settings or ServerSettings(),
            lifecycle=self.lifecycle,
            metrics=self.metrics,
            keys=keys,
        )
        self.document = Document(self.app.openapi())
        self.peer = peer
        self.loop = asyncio.new_event_loop()

    def __enter__(self) -> AppClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self.call("GET", path, b"", headers)

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, raw, headers)

    def call(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return self.loop.run_until_complete(self.request(method, path, body, headers))

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        hang_up: asyncio.Event | None = None,
        chunk: int = 1 << 20,
    ) -> Reply:
        """One request; `hang_up` closes the connection when it is set."""
        reply = Reply()
        chunks = [body[at : at + chunk] for at in range(0, len(body), chunk)] or [b""]
        gone = hang_up or asyncio.Event()

        async def receive() -> dict[str, Any]:
            if chunks:
                part = chunks.pop(0)
                return {"type": "http.request", "body": part, "more_body": bool(chunks)}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert not reply.status
                reply.status = message["status"]
                reply.headers = {n.decode(): v.decode() for n, v in message["headers"]}
            else:
                reply.body += message.get("body", b"")
                reply.parts.append(message.get("body", b""))

        path, _, query = path.partition("?")
        sent = {"host": "localhost", "content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("utf-8", "surrogatepass"),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in sent.items()],
            "client": self.peer,
            "server": ("localhost", 5000),
        }
        await self.app(scope, receive, send)
        if not gone.is_set():
            self.document.check(
                method, path, reply.status, reply.headers.get("content-type"), reply.body
            )
        return reply
