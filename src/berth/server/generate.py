"""Running the generations of one HTTP call: together, within a time, and only while it is wanted.

Every dialect goes the same way: encode, `submit_all`, then either `answers` or `open_stream`.
However a call ends (answered, refused, timed out, hung up), none of its generations outlives it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from berth.server.connection import Chunks, chunks_of
from berth.server.context import RequestContext, Server, context_of
from berth.server.dialect import dialect_of
from berth.server.errors import ClientGone, row_of
from berth.server.logs import log_failure
from berth.server.wanted import while_wanted
from berth.serving.errors import Unavailable
from berth.serving.prompt import Prompt
from berth.serving.request import Answer, Options, Piece
from berth.serving.service import Generation, Service

T = TypeVar("T")
Batch = Sequence[tuple[int, Piece]]  # (index of the generation, its piece), in order of arrival

# A client that has not read its stream for so long is not waiting for the end of it.
_LAST_WORD_SECONDS = 10.0


def submit_all(
    service: Service, prompts: Sequence[tuple[Prompt, Options]], request_id: str
) -> list[Generation]:
    """Submit all prompts of a call in one go, so that they meet in one batch; all or none."""
    generations: list[Generation] = []
    try:
        for index, (prompt, options) in enumerate(prompts):
            generations.append(service.submit(prompt, options, request_id=f"{request_id}-{index}"))
    except BaseException:
        _cancel(generations)
        raise
    return generations


async def answers(
    server: Server, request: Request, generations: Sequence[Generation]
) -> list[Answer]:
    """Every generation's whole answer, in order.

    Raises:
        ClientGone: the client hung up first.
        TimedOut: `request_timeout_seconds` passed first.
        EngineFailed, Unavailable: a generation failed, or ended without an answer.
    """
    context = context_of(request.scope)

    async def collect() -> list[Answer]:
        return [_complete(await generation.answer()) for generation in generations]

    try:
        finished = await _supervise(server, context, request.receive, collect())
    except BaseException:
        _cancel(generations)
        raise
    context.prompt_tokens = sum(generation.prompt_tokens for generation in generations)
    context.output_tokens = sum(answer.output_tokens for answer in finished)
    return finished


class EventWriter(Protocol):
    """How one dialect writes the messages of a stream. All return bytes, framed as it frames."""

    def piece(self, index: int, piece: Piece) -> bytes:
        """The messages for one piece of the answer with this index."""
        ...

    def end(self) -> bytes:
        """What follows the last piece of the last answer."""
        ...

    def error(self, error: Exception) -> bytes:
        """What a stream that broke ends with."""
        ...


async def open_stream(
    server: Server,
    request: Request,
    generations: Sequence[Generation],
    writer: EventWriter,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Response:
    """Wait for the first piece, so that an early error has its own status; then the stream.

    Its media type is that of the dialect which the request is answered in.

    Raises: as `answers`.
    """
    context = context_of(request.scope)
    context.prompt_tokens = sum(generation.prompt_tokens for generation in generations)
    pump = Pump(generations)
    try:
        first = await _supervise(server, context, request.receive, pump.next())
    except BaseException:
        pump.close()
        raise
    context.first_token = time.perf_counter()
    chunks = chunks_of(request.scope) if len(generations) == 1 else None
    media_type = dialect_of(request.scope).framing.media_type
    return _EventStream(server, context, pump, first, writer, headers, chunks, media_type)


class _EventStream(Response):
    """A stream straight to the connection: no queue, no task per message."""

    def __init__(
        self,
        server: Server,
        context: RequestContext,
        pump: Pump,
        first: Batch,
        writer: EventWriter,
        headers: Sequence[tuple[bytes, bytes]],
        chunks: Chunks | None,
        media_type: str,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = [
            (b"content-type", f"{media_type}; charset=utf-8".encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # nginx would hold events back
            *headers,
        ]
        self._server = server
        self._context = context
        self._pump = pump
        self._first = first
        self._writer = writer
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            try:
                work = self._write(send)
                await _supervise(self._server, self._context, receive, work)
                self._context.output_tokens = self._pump.output_tokens
                last = self._writer.end()
            except ClientGone:
                raise
            except Exception as error:
                if row_of(error).status >= 500:
                    log_failure(self._context, error)
                last = self._writer.error(error)
                self._pump.close()
            await _send_last(send, last)
        finally:
            self._context.output_tokens = self._pump.output_tokens
            self._pump.close()

    async def _write(self, send: Send) -> None:
        batch = self._first
        while batch:
            body = self._events(batch)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            batch = await self._pump.next(None if self._chunks is None else self._deliver)

    def _events(self, batch: Batch) -> bytes:
        body = b""
        for index, piece in batch:
            body += self._writer.piece(index, piece)
        return body

    def _deliver(self, batch: Batch) -> bool:
        """Write it now if the client reads; otherwise `_write` waits for that."""
        chunks = self._chunks
        if chunks is None or not chunks.open:
            return False
        chunks.write(self._events(batch))
        return True


async def _send_last(send: Send, body: bytes) -> None:
    """End the stream, unless the client does not even read that much."""
    try:
        async with asyncio.timeout(_LAST_WORD_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": False})
    except TimeoutError:
        raise ClientGone from None


class Pump:
    """The pieces of several generations as they come, as batches of all that is waiting.

    What comes while a slow client is being written to leaves in one batch. Nothing here is a task:
    an engine's step adds to a list, and wakes the waiting task, or hands the list to it at once.

    `next` raises, after the pieces before it, what a generation raises; Unavailable if one
    ends without an answer.
    """

    def __init__(self, generations: Sequence[Generation]) -> None:
        self._generations = generations
        self._counts = [0] * len(generations)
        self._open = len(generations)
        self._ready: list[int] = []  # the generations that have something, in order of arrival
        self._waiter: asyncio.Future[None] | None = None
        self._deliver: Callable[[Batch], bool] | None = None
        self._held: Batch = ()  # taken, and not delivered
        self._error: Exception | None = None
        for index, generation in enumerate(generations):
            generation.listen(partial(self._heard, index))

    @property
    def output_tokens(self) -> int:
        """Output tokens seen so far, over all generations."""
        return sum(self._counts)

    def _heard(self, index: int) -> None:
        if index not in self._ready:
            self._ready.append(index)
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._deliver is not None:
            batch = self._take()
            going_on = self._open and self._error is None
            if going_on and (not batch or self._deliver(batch)):
                return
            self._held = batch
        if not waiter.done():  # it is done if an error came with the batch
            waiter.set_result(None)

    async def next(self, deliver: Callable[[Batch], bool] | None = None) -> Batch:
        """Wait for something; empty when all answers are complete.

        Args:
            deliver: is given each batch but the last as soon as it comes, in the engine's step
                that brought it, and says whether it could do with it what is to be done; then the
                waiting goes on.
        """
        while not self._held and self._open:
            if self._error is not None:
                raise self._error
            if not self._ready:
                self._deliver = deliver
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
                self._waiter = None
            if not self._held:
                self._held = self._take()
        batch, self._held = self._held, ()
        return batch

    def _take(self) -> Batch:
        ready, self._ready = self._ready, []
        batch: list[tuple[int, Piece]] = []
        try:
            for index in ready:
                piece = self._generations[index].take()
                if piece is not None:
                    self._note(index, piece)
                    batch.append((index, piece))
        except Exception as error:
            self._error = error
        return batch

    def _note(self, index: int, piece: Piece) -> None:
        self._counts[index] = piece.tokens
        if piece.finish_reason is not None:
            if piece.finish_reason == "cancelled":
                raise _cancelled()
            self._open -= 1

    def close(self) -> None:
        """Cancel what still runs. Safe to call at any time, and more than once."""
        _cancel(self._generations)
        self._generations = ()  # they refer to us by their listeners: a circle that must be broken


def _complete(answer: Answer) -> Answer:
    if answer.finish_reason == "cancelled":
        raise _cancelled()
    return answer


def _cancelled() -> Unavailable:
    """A generation ended without its answer, and nothing on this side asked for that."""
    return Unavailable("The server stopped before the answer was complete.", retry_after=5)


def _cancel(generations: Sequence[Generation]) -> None:
    for generation in generations:
        generation.cancel()  # nothing happens to one that has finished


async def _supervise(
    server: Server, context: RequestContext, receive: Receive, work: Coroutine[Any, Any, T]
) -> T:
    """The result of `work`, unless the client hangs up or the request's time is over first."""
    limit = server.settings.request_timeout_seconds
    return await while_wanted(limit, context.started, receive, work)
