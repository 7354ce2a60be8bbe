"""Reading many server-sent event streams at once, as dumb clients do."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

from e2e.berth_server import Server


class Stream(threading.Thread):
    """One POST with "stream": true, read to its end. `events` are the parsed data lines."""

    def __init__(self, server: Server, path: str, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._path = path
        self._body = json.dumps(body | {"stream": True})
        self.status = 0
        self.events: list[Any] = []
        self.done = False  # data: [DONE] has come
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self.failure = error

    def _read(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=120)
        connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        self.status = answer.status
        for line in answer:
            text = line.decode().rstrip("\r\n")
            if text == "data: [DONE]":
                self.done = True
            elif text.startswith("data: "):
                self.events.append(json.loads(text[6:]))
        connection.close()

    @property
    def text(self) -> str:
        """What an OpenAI completion stream has said so far."""
        return "".join(
            choice["text"] for event in self.events for choice in event.get("choices", ())
        )

    @property
    def finish_reason(self) -> str | None:
        reasons = [c["finish_reason"] for e in self.events for c in e.get("choices", ())]
        return next((reason for reason in reversed(reasons) if reason), None)
