"""A hub on loopback: repositories of files, ranges, a gated one. Counts the bytes it sends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Hub:
    """`files` by "owner/name/file"; `gated` ids answer 401; `ranges` False ignores Range."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.gated: set[str] = set()
        self.ranges = True
        self.sent = 0
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """A running hub."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            owner, name, _, _, *rest = unquote(self.path).lstrip("/").split("/")
            file = f"{owner}/{name}/{'/'.join(rest)}"
            wanted = self.headers.get("Range")
            state.requests.append((file, wanted))
            if f"{owner}/{name}" in state.gated:
                self._answer(401, b"gated")
            elif file not in state.files:
                self._answer(404, b"no such file")
            elif wanted and state.ranges:
                first, last = wanted.removeprefix("bytes=").split("-")
                self._answer(206, state.files[file][int(first) : int(last) + 1])
            else:
                self._answer(200, state.files[file])

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # a client that has read enough hangs up
                self.wfile.write(body)
                state.sent += len(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
