"""One client's connection: uvicorn's HTTP/1.1, with what it lacks.

- uvicorn bounds a request's body (it stops reading while the app takes nothing) but not its head:
  without this, a client could send headers for ever, or one byte of them a minute on thousands of
  sockets.
- An offer to change the protocol (Java's HttpClient offers HTTP/2 on each first request) is
  ignored, as RFC 9110 7.8 allows, and the request is answered as HTTP/1.1. uvicorn's parser takes
  what follows such a head for the other protocol, and so loses the body.
- What is wrong with one request ends the connection after the requests before it were answered.
- A client that still writes when the server has had enough hears why (RFC 9112 9.6), and one that
  only stopped writing hears its answer.
- To HTTP/1.0 an answer of unknown length goes without chunks, and ends with the connection.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import TimerHandle
from collections.abc import Callable, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, ClassVar, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from berth.server.peer import ask_whether_there, is_gone, notice_dead

_SCOPE_KEY = "berth.chunks"
_FRAMING = (b"content-length", b"transfer-encoding")


class GuardedConnection(HttpToolsProtocol):
    """What a client sends, as requests in order, and the answers in the same order."""

    MAX_HEAD_BYTES: ClassVar[int] = 64 * 1024
    HEAD_SECONDS: ClassVar[float] = 20.0
    # How long what we wrote may wait for a peer that neither reads nor closes.
    UNREAD_SECONDS: ClassVar[float] = 120.0
    # What is still read, unseen, of a client that is to read why it is refused: of a body,
    # and of what is no request.
    LINGER_BYTES: ClassVar[int] = 256 * 1024 * 1024
    LINGER_NOISE_BYTES: ClassVar[int] = 16 * 1024 * 1024
    LINGER_SECONDS: ClassVar[float] = 30.0
    # While so many requests wait behind the one that is answered, no more are read.
    MAX_PIPELINED: ClassVar[int] = 16

    _offer = False  # the head that was just read offers another protocol
    _again = False  # the parser is given a head that it has read before
    _quiet_bytes = 0  # of reads that brought neither the end of a head nor any of a body
    _lingered_bytes = 0
    _open = 0  # requests that are not answered yet
    _answering: RequestResponseCycle | None = None  # the first of them
    _clock: TimerHandle | None = None
    # With what the connection ends once all requests are answered; b"" for nothing.
    _last_words: bytes | None = None
    _said = False  # it ended with those
    _leaving = False  # nothing is written any more
    _ended = False  # the client writes no more

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection that never asks for anything is closed too."""
        super().connection_made(transport)
        notice_dead(transport, self.UNREAD_SECONDS)
        self._raw = transport
        self._exit = _Exit(transport.write, self._close, self._is_closing)
        self.transport = cast(asyncio.Transport, self._exit)
        self.flow = _Flow(transport, self._may_read)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, and let go of what holds us in a circle."""
        self._stop_clock()
        self._leaving = True
        answering = self._answering
        if answering is not None and not answering.response_complete:
            answering.disconnected = True  # uvicorn only informs the last of a pipeline
            answering.message_event.set()
        super().connection_lost(exc)
        self._exit.close, self._exit.is_closing = self._raw.close, self._raw.is_closing
        self.transport = self._raw

    def data_received(self, data: bytes) -> None:
        """Parse it; or take no notice of it, once all is said."""
        if self._leaving:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > (
                self.LINGER_NOISE_BYTES if self._said else self.LINGER_BYTES
            ):
                self._raw.close()
            return
        if self._last_words is not None:
            return
        self._unset_keepalive_if_required()
        self._quiet_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(b"400 Bad Request", "This is not valid HTTP/1.1.")
        if self._quiet_bytes > self.MAX_HEAD_BYTES:
            self._refuse_head()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client writes no more. Answer what it asked for, while it is there to read it."""
        self._ended = True
        if not self._leaving:
            self._stop_clock()
            if self._last_words is None:
                self._last_words = b""
                self._give_up_unfinished()
            if self._open and ask_whether_there(self._raw):
                self._look_after_reader(0.01)
                return True
        return None  # the transport closes

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
        framing = [b"%b: %b\r\n" % pair for pair in self.scope["headers"] if pair[0] in _FRAMING]
        self._again = True
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))
        finally:
            self._again = False

    def on_message_begin(self) -> None:
        """A head begins, on a new connection or a kept one."""
        if self._again:
            return
        super().on_message_begin()
        self._quiet_bytes = 0
        self.server_state.default_headers = [(b"date", _date(int(time.time())))]
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is complete; the body has its own limits."""
        if self._again:
            return
        self._offer = self.parser.should_upgrade()
        self._quiet_bytes = 0
        self._stop_clock()
        # The size that it has on the wire, but for white space that the parser leaves out.
        size = len("GET  HTTP/1.1\r\n\r\n") + len(self.url)
        for name, value in self.headers:
            size += len(name) + len(value) + len(": \r\n")
        if size > self.MAX_HEAD_BYTES:
            self._refuse_head()
            raise _Refused  # ends the parsing
        super().on_headers_complete()
        cycle = self.cycle
        self._open += 1
        scope = cast(MutableMapping[str, Any], self.scope)
        scope[_SCOPE_KEY] = chunks = Chunks(cycle)
        if scope["http_version"] != "1.1":
            cycle.waiting_for_100_continue = False
            cycle.send = _Unframed(cycle, chunks)  # type: ignore[method-assign]
        self.headers = []  # what follows (a trailer, a head read again) is not the app's

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._quiet_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete, unless the parser only did not look for one."""
        if self._offer:
            return
        super().on_message_complete()
        self.cycle.more_body = False  # also if it was answered before
        self._quiet_bytes = 0
        self._stop_clock()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """The next request's turn, or the end."""
        self._open -= 1
        super().on_response_complete()
        if self._open or self._leaving:
            return
        if self._last_words is not None:
            self._say_last_words()
        elif self.cycle.more_body:
            # A body that is not read may still end, but has no more than this time for it.
            self._start_clock(self.LINGER_SECONDS, self._close)

    def shutdown(self) -> None:
        """The server ends."""
        if self._leaving:
            self._raw.close()
        else:
            super().shutdown()

    def _may_read(self) -> bool:
        return len(self.pipeline) < self.MAX_PIPELINED

    def _expect_head(self) -> None:
        self._start_clock(self.HEAD_SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._open:  # we may be the late ones: behind a stream nothing is read
            self._expect_head()
        else:
            message = f"The request's headers did not arrive within {self.HEAD_SECONDS:g} seconds."
            self._refuse(b"408 Request Timeout", message)

    def _refuse_head(self) -> None:
        self._refuse(
            b"431 Request Header Fields Too Large",
            f"The request's headers are larger than {self.MAX_HEAD_BYTES} bytes.",
        )

    def _refuse(self, status: bytes, message: str) -> None:
        """End with this answer, once the requests before it are answered."""
        if self._last_words is not None or self._leaving:
            return
        self._stop_clock()
        body = message.encode()
        self._last_words = (
            b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (status, len(body), body)
        )
        self._give_up_unfinished()
        if self._open:
            self.flow.pause_reading()
        else:
            self._say_last_words()

    def _give_up_unfinished(self) -> None:
        """Forget the request whose body broke off: the last words are the answer to it."""
        cycle = self.cycle
        if cycle is None or not cycle.more_body:
            return
        if cycle.response_started:
            self._last_words = b""  # it has an answer
        if cycle.response_complete:
            return
        cycle.disconnected = True
        cycle.message_event.set()
        self._open -= 1
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()

    def _say_last_words(self) -> None:
        assert self._last_words is not None
        if self._last_words:
            self._said = True
            self._raw.write(self._last_words)
        self._close()

    def _close(self) -> None:
        """Write no more. Read on for a while, if the client may still be writing: closing would
        reset the connection, and the answer might never be read.
        """
        if self._leaving:
            return
        self._leaving = True
        self._stop_clock()
        self._unset_keepalive_if_required()
        unread = self._said or self.flow.read_paused or bool(self.pipeline)
        unread = unread or (self.cycle is not None and self.cycle.more_body)
        if not unread or self._ended or self._raw.is_closing():
            self._raw.close()
            return
        self.pipeline.clear()
        self._raw.write_eof()
        self.flow.resume_reading()
        self._start_clock(self.LINGER_SECONDS, self._raw.close)

    def _is_closing(self) -> bool:
        return self._leaving or self._raw.is_closing()

    def _look_after_reader(self, seconds: float) -> None:
        """See to it that a client which is gone altogether is not answered."""
        if is_gone(self._raw):
            self._raw.abort()
        elif self._open:
            longer = min(1.0, 2 * seconds)
            self._start_clock(seconds, lambda: self._look_after_reader(longer))

    def _start_clock(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, then)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


class _Refused(Exception):
    """Raised through the parser, which then stops."""


class _Exit:
    """The transport as uvicorn sees it. `write` is the transport's own: it is called per token."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(
        self,
        write: Callable[[bytes], None],
        close: Callable[[], None],
        is_closing: Callable[[], bool],
    ) -> None:
        self.write = write
        self.close = close
        self.is_closing = is_closing


class _Flow(FlowControl):
    """uvicorn reads on after each answer; we do while few requests wait."""

    def __init__(self, transport: asyncio.Transport, may_read: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._may_read = may_read

    def resume_reading(self) -> None:
        if self.read_paused and self._may_read():
            super().resume_reading()


class _Unframed:
    """`send` of a client that knows no chunks: what has no length ends with the connection."""

    def __init__(self, cycle: RequestResponseCycle, chunks: Chunks) -> None:
        self._cycle = cycle
        self._chunks = chunks
        self._send = cycle.send
        self._has_length = True

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._has_length = b"content-length" in names
            if not self._has_length:
                self._cycle.chunked_encoding = False
                self._chunks.bare = True
        elif not self._has_length:
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)


class Chunks:
    """The body of one answer, written at once: ASGI's `send` needs a task to call it, and waking
    one for each token costs more than writing the token.
    """

    __slots__ = ("_cycle", "bare")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self.bare = False  # without the frame of a chunk

    @property
    def open(self) -> bool:
        """Whether the answer is under way without a length, and its client there and reading."""
        cycle = self._cycle
        closed = cycle.flow.write_paused or cycle.disconnected or cycle.response_complete
        return (self.bare or bool(cycle.chunked_encoding)) and not closed

    def write(self, data: bytes) -> None:
        """One chunk, while `open`."""
        if self.bare:
            self._cycle.transport.write(data)
        elif data:  # an empty chunk would be the last one
            self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


def chunks_of(scope: MutableMapping[str, Any]) -> Chunks | None:
    """Of the request with this scope; None if the HTTP server is not ours (in tests)."""
    chunks = scope.get(_SCOPE_KEY)
    return chunks if isinstance(chunks, Chunks) else None


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    """RFC 9110's Date."""
    return formatdate(seconds, usegmt=True).encode("ascii")
