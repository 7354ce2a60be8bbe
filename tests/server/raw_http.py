"""HTTP/1.1 byte by byte: what no client library would send, and every answer as it came."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

JSON = "content-type: application/json\r\n"


@dataclass
class RawAnswer:
    """One answer on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def connect(port: int, seconds: float = 20.0) -> socket.socket:
    """A connection to a server of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def request(
    path: str, body: object = None, extra: str = "", *, version: str = "1.1", chunked: bool = False
) -> bytes:
    """A request's bytes: a POST of `body` as JSON (bytes as they are), or a GET without one."""
    method = "GET" if body is None else "POST"
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/{version}\r\nhost: localhost\r\n{extra}"
    if chunked:
        half = len(raw) // 2
        parts = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (raw[:half], raw[half:]) if p)
        return f"{head}{JSON}transfer-encoding: chunked\r\n\r\n".encode() + parts + b"0\r\n\r\n"
    if body is not None:
        head += f"{JSON}content-length: {len(raw)}\r\n"
    return f"{head}\r\n".encode() + raw


class _Unclosed:
    """Lets http.client parse one answer after the other from one stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def makefile(self, *_: object, **__: object) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return (lambda: None) if name == "close" else getattr(self._stream, name)


def answers(connection: socket.socket, methods: Iterable[str]) -> list[RawAnswer]:
    """As many answers as there are methods, in the order in which they come."""
    found = []
    with connection.makefile("rb") as stream:
        for method in methods:
            reply = HTTPResponse(_Unclosed(stream), method=method)  # type: ignore[arg-type]
            reply.begin()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            found.append(RawAnswer(reply.status, headers, reply.read()))
    return found


def everything(connection: socket.socket) -> bytes:
    """All bytes until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))
