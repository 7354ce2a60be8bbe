"""One running request: what its reader takes, and what the service knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from berth.protocol.messages import Delta, GenerateParams, SamplingParams
from berth.protocol.messages import FinishReason as EngineReason
from berth.serving.errors import EngineFailed, InvalidRequest, ServingError
from berth.serving.output import Output
from berth.serving.prompt import Prompt
from berth.serving.request import Answer, FinishReason, Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

# Deaths of engines with the same request in flight, without a token in between: it is to blame.
MAX_DEATHS = 3
# From so many on, it runs as the only suspect, so that the innocent are cleared.
SUSPECT_DEATHS = 2


class ModelGeneration:
    """Implements `Generation`. Used from the event loop alone; one reader at a time.

    A slow reader costs other requests nothing: what it has not taken becomes one piece, and the
    whole is no longer than max_tokens makes it.
    """

    def __init__(
        self,
        number: int,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams,
        output: Output,
        *,
        now: float,
        echo: bool,
        output_hidden: bool,
        on_end: Callable[[ModelGeneration], None],
        generate: GenerateParams | None = None,
        others: Sequence[Output] = (),
    ) -> None:
        """`others` take the further sequences of a beam search; they come before the first."""
        self.number = number  # towards the engine
        self.request_id = request_id  # towards the client
        self.prompt = prompt
        self.params = params
        self.generate = generate
        self.prompt_tokens = len(prompt)
        self.cached_tokens = 0
        self.started = now
        self.first_token: float | None = None  # seconds after `started`
        self.queued: float | None = None  # of them, in the engine's queue
        self.last_delta = now
        self.error: ServingError | None = None
        self.ended = False
        self.timer: asyncio.TimerHandle | None = None
        # For replays: all tokens an engine gave, and how the engines died that had it.
        self.emitted: list[int] = []
        self.in_engine = False
        self.deaths = 0
        self.replays = 0
        self._emitted_at_death = 0
        self._output = output
        self._others = tuple(others)
        self._echo = echo
        self._output_hidden = output_hidden
        self._on_end = on_end
        self._listener: Callable[[], None] | None = None
        self._end_waiter: asyncio.Future[None] | None = None

    # For the service.

    def receive(self, delta: Delta) -> None:
        """Take in what one step gave."""
        if delta.index:
            self._others[delta.index - 1].feed(delta.tokens, _told(delta.finish_reason))
            return
        if self._echo:
            self._echo = False
            self._output.echo(self.prompt.ids, delta.prompt_logprobs)
        self.emitted += delta.tokens
        self.cached_tokens = self.cached_tokens or delta.cached_tokens
        if delta.finish_reason in ("error", "cancelled"):
            reason = delta.error or "The engine gave this request up."
            self.fail(InvalidRequest(reason) if delta.refused else EngineFailed(reason))
            return
        if self._output_hidden:
            self._output.feed((), "length")
        else:
            self._output.feed(delta.tokens, _told(delta.finish_reason), delta.logprobs)
        if self._output.finish_reason is not None:
            self._end()
        elif self._listener is not None:
            self._listener()

    def lost_engine(self, *, to_blame: bool) -> None:
        """The engine that had this request died. Counts towards giving the request up."""
        self.in_engine = False
        self.replays += 1
        if not to_blame:
            return
        progressed = len(self.emitted) > self._emitted_at_death
        self._emitted_at_death = len(self.emitted)
        self.deaths = 1 if progressed else self.deaths + 1
        if self.deaths >= MAX_DEATHS:
            self.fail(
                EngineFailed(
                    f"The engine died {self.deaths} times while it worked on this request; "
                    "the request is given up."
                )
            )

    @property
    def suspect(self) -> bool:
        """Whether this request may be what kills engines."""
        return self.deaths >= SUSPECT_DEATHS and len(self.emitted) == self._emitted_at_death

    def fail(self, error: ServingError) -> None:
        """End with an error, after the text that is already there."""
        if not self.ended:
            self.error = error
            self._end()

    def _end(self) -> None:
        self.ended = True
        if self.timer is not None:
            self.timer.cancel()
        if self._end_waiter is not None and not self._end_waiter.done():
            self._end_waiter.set_result(None)
        if self._listener is not None:
            self._listener()
        self._on_end(self)

    # For the reader.

    @property
    def finish_reason(self) -> FinishReason | None:
        return self._output.finish_reason

    @property
    def output_tokens(self) -> int:
        return self._output.tokens + sum(other.tokens for other in self._others)

    def cancel(self) -> None:
        """Give the request up at once; nothing happens if it has ended."""
        if not self.ended:
            self._output.end_early("cancelled")
            self._end()

    def listen(self, listener: Callable[[], None]) -> None:
        """See `Generation`."""
        self._listener = listener
        if self.ended or self._output.has_more():
            listener()

    def take(self) -> Piece | None:
        """See `Generation`."""
        output = self._output
        if output.has_more() or (self.ended and self.error is None):
            piece = output.piece()
            if self.error is not None and self._listener is not None:
                self._listener()  # for the error, which comes after the text
            return piece
        if self.error is not None:
            raise self.error
        return None

    async def answer(self) -> Answer:
        """See `Generation`."""
        try:
            if not self.ended:
                self._end_waiter = asyncio.get_running_loop().create_future()
                await self._end_waiter
        finally:
            self.cancel()
        if self.error is not None:
            raise self.error
        return replace(self._answer(self._output), others=tuple(map(self._answer, self._others)))

    def _answer(self, output: Output) -> Answer:
        return output.answer(self.prompt_tokens, self.cached_tokens)


def _told(reason: EngineReason | None) -> FinishReason | None:
    """The engine's reason as clients see it; an error is raised if an answer ends in it."""
    return "cancelled" if reason == "error" else reason
