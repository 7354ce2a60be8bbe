"""One client's connection: uvicorn's HTTP/1.1, with what it lacks.

- uvicorn bounds a request's body (it stops reading while nobody takes it) but not its head:
  without this, a client could send headers for ever, or one byte of them a minute on thousands of
  sockets.
- An offer to change the protocol (Java's HttpClient offers HTTP/2 on each first request) is
  ignored, as RFC 9110 7.8 allows, and the request is answered as HTTP/1.1. uvicorn's parser takes
  what follows such a head for the other protocol, and so loses the body.
"""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio import TimerHandle
from collections.abc import MutableMapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_SCOPE_KEY = "berth.chunks"
_FRAMING = (b"content-length", b"transfer-encoding")
_INVALID = "Invalid HTTP request received."


class GuardedConnection(HttpToolsProtocol):
    """Closes a connection whose request line and headers are too large or take too long."""

    MAX_HEAD_BYTES: ClassVar[int] = 64 * 1024
    HEAD_SECONDS: ClassVar[float] = 20.0
    # How long what we wrote may wait for a peer that neither reads nor closes.
    UNREAD_SECONDS: ClassVar[float] = 120.0

    _in_head = True
    _offer = False  # the head that was just read offers another protocol
    _again = False  # the parser is being told of a head that it has read before
    _head_bytes = 0
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection that never asks for anything is closed too."""
        super().connection_made(transport)
        _notice_dead_peers(transport, self.UNREAD_SECONDS)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse it, and count what arrives while a head is incomplete."""
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning(_INVALID)
            self.send_400_response(_INVALID)
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def _parse(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as offer:
                # Only a head can end so, and the offset of its end is all that the error tells.
                rest = memoryview(rest)[offer.args[0] :]
                self._decline()

    def _decline(self) -> None:
        """Go on after a head with an offer as though it had had none.

        The parser would not read the body, so another one does, told only how long the body is.
        """
        self._offer = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        framing = [b"%b: %b\r\n" % pair for pair in self.headers if pair[0] in _FRAMING]
        heard, self.headers = self.headers, []
        self._again = True
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))
        finally:
            self._again = False
            self.headers = heard

    def on_message_begin(self) -> None:
        """A head begins, on a new connection or a kept one."""
        if self._again:
            return
        super().on_message_begin()
        self.server_state.default_headers = [(b"date", _date(int(time.time())))]
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is complete; the body has its own limits."""
        if self._again:
            return
        self._offer = self.parser.should_upgrade()
        self._in_head = False
        self._head_bytes = 0
        self._stop_clock()
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:
            cast(MutableMapping[str, Any], self.scope)[_SCOPE_KEY] = Chunks(self.cycle)

    def on_message_complete(self) -> None:
        """The body is complete, unless the parser only did not look for one."""
        if not self._offer:
            super().on_message_complete()

    def _expect_head(self) -> None:
        self._in_head = True
        self._stop_clock()
        self._head_timer = self.loop.call_later(
            self.HEAD_SECONDS, self._refuse, b"408 Request Timeout"
        )

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        self._stop_clock()
        if not self.transport.is_closing():
            head = b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head)
            self.transport.close()


class Chunks:
    """The body of one answer, written at once: ASGI's `send` needs a task to call it, and waking
    one for each token costs more than writing the token.
    """

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    @property
    def open(self) -> bool:
        """Whether the answer is under way in chunks, and its client there and reading."""
        cycle = self._cycle
        closed = cycle.flow.write_paused or cycle.disconnected or cycle.response_complete
        return bool(cycle.chunked_encoding) and not closed

    def write(self, data: bytes) -> None:
        """One chunk, while `open`."""
        if data:  # an empty chunk would be the last one
            self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


def chunks_of(scope: MutableMapping[str, Any]) -> Chunks | None:
    """Of the request with this scope; None where the HTTP server is not ours (in tests)."""
    chunks = scope.get(_SCOPE_KEY)
    return chunks if isinstance(chunks, Chunks) else None


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    """RFC 9110's Date."""
    return formatdate(seconds, usegmt=True).encode("ascii")


def _notice_dead_peers(transport: asyncio.Transport, seconds: float) -> None:
    """Let the kernel end a connection whose peer vanished, or left its window closed."""
    connection = transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(seconds * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
