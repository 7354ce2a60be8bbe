"""What a service tells about itself while it works. The server makes metrics of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from berth.protocol.messages import EngineStats, Ready
from berth.serving.request import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request that has ended. Times in seconds from its submission; None: it never came."""

    request_id: str
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    finish_reason: FinishReason | None  # None where it ended in an error
    error: str | None  # the error's class name
    first_token: float | None
    total: float
    queued: float | None  # of first_token, in the engine's queue; None: the engine does not say
    max_tokens: int  # that were asked for, or that the context left
    replays: int  # engines that it survived


class Observer(Protocol):
    """Called from the event loop; should return in microseconds and raise nothing."""

    def request_started(self, prompt_tokens: int) -> None: ...
    def request_finished(self, record: RequestRecord) -> None: ...

    def step(
        self, stats: EngineStats, tokens: int, first_tokens: Sequence[float], gaps: Sequence[float]
    ) -> None:
        """One step's output.

        Args:
            stats: counters in it never go back, whatever engines died in between.
            tokens: output tokens in this step, over all requests.
            first_tokens: times to first token of the requests that just got theirs, in seconds.
            gaps: for each other request of the step, seconds per token since its last one.
        """
        ...

    def engine_ready(self, ready: Ready) -> None: ...
    def engine_died(self, reason: str) -> None: ...


class NullObserver:
    """Nobody watches."""

    def request_started(self, prompt_tokens: int) -> None: ...
    def request_finished(self, record: RequestRecord) -> None: ...
    def step(
        self, stats: EngineStats, tokens: int, first_tokens: Sequence[float], gaps: Sequence[float]
    ) -> None: ...
    def engine_ready(self, ready: Ready) -> None: ...
    def engine_died(self, reason: str) -> None: ...
