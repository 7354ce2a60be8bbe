"""A small HTTP/1.1 client over asyncio streams: one request per connection, bodies as they arrive.

`berth bench` shares its cores with the server that it measures, and a general client costs about
ten times more per streamed token. No redirects, no proxies, no compression.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import msgspec

CONNECT_SECONDS = 10.0
_READ_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_MAX_BODY_BYTES = 64 * 1024 * 1024  # of an answer that is read whole
_MAX_EVENT_BYTES = 16 * 1024 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: .*)?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")


class ClientError(Exception):
    """Base of what can go wrong between us and a server; the message is a sentence."""


class Unreachable(ClientError):
    """No server listens there, or none answers in time."""


class BrokenAnswer(ClientError):
    """The answer is not HTTP, or it ended early."""


class Refused(ClientError):
    """The server answered with an error. `status` is its HTTP status, 0 inside a stream."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Target:
    """A server's address. `prefix` is what precedes /v1, without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    # The address that answered, so that a name is resolved once and not per request.
    address: str | None = field(default=None, compare=False)

    @property
    def url(self) -> str:
        """The address as a person would type it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"


def parse_url(text: str) -> Target:
    """Read `http://host:port`, with or without scheme and with or without /v1 at the end.

    Raises:
        ValueError: not such an address; the message says what would be right.
    """
    wanted = f"{text!r} is not a server's address; it should look like http://localhost:5000"
    full = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(full)
        port = parts.port
    except ValueError:
        raise ValueError(wanted) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(wanted)
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{wanted}, without user name, ? or #")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return Target(parts.scheme, parts.hostname, port, quote(path, safe="/%:@!$&'()*+,;=~-._"))


def bearer(api_key: str | None) -> dict[str, str]:
    """The header that carries a key. BERTH_API_KEY may hold several; the first one is sent.

    Raises:
        ValueError: the key cannot be sent in a header. It is not repeated in the message.
    """
    key = (api_key or "").split(",")[0].strip()
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the API key should be printable ASCII without spaces")
    return {"authorization": f"Bearer {key}"}


class _Chunked:
    """Undoes Transfer-Encoding: chunked."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = -1  # bytes of the current chunk and its line end; -1: a size line is next
        self._trailers = False
        self.done = False

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data if self._rest else data
        at, end, out = 0, len(data), []
        while at < end and not self.done:
            if self._left >= 0:
                take = min(self._left, end - at)
                body = min(take, max(0, self._left - 2))
                if body:
                    out.append(data[at : at + body])
                at += take
                self._left = self._left - take if self._left > take else -1
                continue
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                if end - at > _MAX_HEAD_BYTES:
                    raise BrokenAnswer("the server sent a malformed chunk")
                break
            line, at = data[at:line_end], line_end + 2
            if self._trailers:
                self.done = not line
                continue
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise BrokenAnswer("the server sent a malformed chunk")
            length = int(size[1], 16)
            if length:
                self._left = length + 2
            else:
                self._trailers = True
        self._rest = data[at:]
        return out[0] if len(out) == 1 else b"".join(out)


class _Sized:
    """Counts a body of known length; None: the body ends with the connection."""

    def __init__(self, length: int | None) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> bytes:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
            self.done = self._left == 0
        return data


class EventSplitter:
    """Cuts a byte stream into server-sent events, wherever the network cut it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that is complete now. Comments and other fields are dropped."""
        data = self._rest + data if self._rest else data
        if b"\r" in data:
            # A carriage return at the end may be the first half of a line end.
            held = data.endswith(b"\r")
            data = data[: len(data) - held].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            blocks = data.split(b"\n\n")
            self._rest = blocks.pop() + b"\r" * held
        else:
            blocks = data.split(b"\n\n")
            self._rest = blocks.pop()
        if len(self._rest) > _MAX_EVENT_BYTES:
            raise BrokenAnswer("the server sent an event without end")
        events = []
        for block in blocks:
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(block[6:])
                continue
            lines = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                events.append(b"\n".join(line.removeprefix(b" ") for line in lines))
        return events


class Response:
    """An answer whose head has arrived."""

    def __init__(
        self, status: int, headers: Mapping[str, str], reader: asyncio.StreamReader
    ) -> None:
        self.status = status
        self.headers = headers
        self._reader = reader
        self._body: _Chunked | _Sized
        if headers.get("transfer-encoding", "").lower().endswith("chunked"):
            self._body = _Chunked()
        else:
            length = headers.get("content-length")
            if length is not None and not length.isdecimal():
                raise BrokenAnswer("the server sent a malformed Content-Length")
            self._body = _Sized(None if length is None else int(length))
        self._until_close = "content-length" not in headers and isinstance(self._body, _Sized)

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is server-sent events."""
        return self.headers.get("content-type", "").lower().startswith("text/event-stream")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they arrive. Raises BrokenAnswer if it ends early."""
        while not self._body.done:
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError:
                data = b""
            if not data:
                if self._until_close:
                    return
                raise BrokenAnswer("the server closed the connection in the middle of an answer")
            if body := self._body.feed(data):
                yield body

    async def event_batches(self) -> AsyncIterator[list[bytes]]:
        """The data of server-sent events, those that arrived together as one list."""
        splitter = EventSplitter()
        async for data in self.chunks():
            if events := splitter.feed(data):
                yield events

    async def read(self) -> bytes:
        """The whole body."""
        parts, size = [], 0
        async for data in self.chunks():
            parts.append(data)
            size += len(data)
            if size > _MAX_BODY_BYTES:
                raise BrokenAnswer(f"the answer is larger than {_MAX_BODY_BYTES} bytes")
        return b"".join(parts)

    async def refuse_errors(self) -> None:
        """Raise Refused, with the server's own sentence, unless the status is 2xx."""
        if 200 <= self.status < 300:
            return
        if 300 <= self.status < 400:
            raise Refused(
                self.status,
                f"the server redirects (status {self.status}); give the final address instead",
            )
        raise Refused(self.status, error_sentence(await self.read(), self.status))


@contextlib.asynccontextmanager
async def send(
    target: Target,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Response]:
    """Send one request; gives its Response once the head is there. Leaving closes the connection.

    Raises:
        Unreachable: no server listens there, or not within CONNECT_SECONDS.
        BrokenAnswer: what came back is not HTTP.
    """
    reader, writer = await _connect(target)
    try:
        host = f"[{target.host}]" if ":" in target.host else target.host
        lines = [
            f"{method} {target.prefix}{path} HTTP/1.1",
            f"host: {host}:{target.port}",
            "connection: close",
            "user-agent: berth",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        # A server may refuse and close before it has read a large body; its answer counts then.
        with contextlib.suppress(OSError):
            await writer.drain()
        yield await _head(reader)
    finally:
        # No waiting for the other side: a stopped answer's server may still be writing.
        writer.transport.abort()


async def _connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = ssl.create_default_context() if target.scheme == "https" else None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                target.address or target.host,
                target.port,
                limit=_MAX_HEAD_BYTES,
                ssl=tls,
                server_hostname=target.host if tls else None,
            )
    except TimeoutError:
        raise Unreachable(f"{target.url} did not answer within {CONNECT_SECONDS:g} s") from None
    except ssl.SSLError as error:
        raise Unreachable(f"{target.url} does not speak TLS as expected: {error.reason}") from None
    except OSError:
        raise Unreachable(f"nothing answers at {target.url}") from None
    if target.address is None:
        target.address = str(writer.get_extra_info("peername")[0])
    return reader, writer


async def _head(reader: asyncio.StreamReader) -> Response:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            raise BrokenAnswer("the server closed the connection without an answer") from None
        except asyncio.LimitOverrunError:
            raise BrokenAnswer("what answers there does not speak HTTP") from None
        first, *lines = head[:-4].split(b"\r\n")
        status = _STATUS_LINE.fullmatch(first)
        if status is None:
            raise BrokenAnswer("what answers there does not speak HTTP")
        if status[1].startswith(b"1"):
            continue  # 100 Continue and its kin precede the real answer
        headers = {}
        for line in lines:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return Response(int(status[1]), headers, reader)


def error_sentence(body: bytes, status: int) -> str:
    """What a server's error body says, in any of the dialects' shapes."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        answer = None
    if isinstance(answer, dict):
        said = answer.get("error", answer.get("detail", answer.get("message")))
        if isinstance(said, dict):
            said = said.get("message")
        if isinstance(said, list) and said and isinstance(said[0], dict):
            said = said[0].get("msg")
        if isinstance(said, str) and said:
            return f"the server refused ({status}): {said[:500]}"
    return f"the server refused with status {status}"


async def served_model(
    target: Target, headers: Mapping[str, str], name: str | None = None
) -> ServedModel:
    """The model of /v1/models called `name`, else the first; an empty one if there is none.

    Raises:
        ClientError: the server cannot be reached, or refuses (a missing key, say).
    """
    async with send(target, "GET", "/v1/models", headers=headers) as response:
        if response.status in (404, 405):
            return ServedModel()
        await response.refuse_errors()
        body = await response.read()
    try:
        models = msgspec.json.decode(body, type=_Models).data
    except msgspec.DecodeError:
        raise BrokenAnswer(f"{target.url}/v1/models is not a list of models") from None
    named = [model for model in models if model.id == name]
    return next(iter(named or models), ServedModel())


class ServedModel(msgspec.Struct):
    """A model of /v1/models. None: the server does not say."""

    id: str | None = None
    max_model_len: int | None = None  # tokens; vLLM's key, and Berth's


class _Models(msgspec.Struct):
    data: list[ServedModel]
