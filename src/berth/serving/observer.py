"""What a service tells about itself while it works. The server makes metrics of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from berth.protocol.messages import EngineStats, Ready
from berth.serving.request import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request that has ended. Times in seconds from its submission; None: it never came."""

    request_id: str
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    finish_reason: FinishReason | None  # None if it ended in an error
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

    def engine_unloaded(self, stats: EngineStats) -> None:
        """The engine was ended because others need its room. `stats`: what is left of it."""
        ...


class NullObserver:
    """Nobody watches."""

    def request_started(self, prompt_tokens: int) -> None: ...
    def request_finished(self, record: RequestRecord) -> None: ...
    def step(
        self, stats: EngineStats, tokens: int, first_tokens: Sequence[float], gaps: Sequence[float]
    ) -> None: ...
    def engine_ready(self, ready: Ready) -> None: ...
    def engine_died(self, reason: str) -> None: ...
    def engine_unloaded(self, stats: EngineStats) -> None: ...


class RequestsOnly:
    """Passes on what becomes of requests; the gauges of engines stay another service's."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def request_started(self, prompt_tokens: int) -> None:
        self._observer.request_started(prompt_tokens)

    def request_finished(self, record: RequestRecord) -> None:
        self._observer.request_finished(record)

    def step(
        self, stats: EngineStats, tokens: int, first_tokens: Sequence[float], gaps: Sequence[float]
    ) -> None:
        """This engine's own state is not shown."""

    def engine_ready(self, ready: Ready) -> None:
        """It is no restart of the other one."""

    def engine_died(self, reason: str) -> None:
        self._observer.engine_died(reason)

    def engine_unloaded(self, stats: EngineStats) -> None:
        """The other one stays."""


class Lives:
    """Counters over all engines that served a model, so that they never go back."""

    def __init__(self) -> None:
        self._last = EngineStats()  # of the present engine
        self._past = EngineStats()  # of those that are gone, all together

    def step(self, stats: EngineStats) -> EngineStats:
        """The present engine's figures, with the counters of all."""
        self._last = stats
        if self._past.preemptions or self._past.prefix_queries:
            return self._total()
        return stats

    def engine_lost(self) -> None:
        """The present engine's counters are past."""
        self._past, self._last = self._total(), EngineStats()

    def _total(self) -> EngineStats:
        return msgspec.structs.replace(
            self._last,
            preemptions=self._last.preemptions + self._past.preemptions,
            prefix_queries=self._last.prefix_queries + self._past.prefix_queries,
            prefix_hits=self._last.prefix_hits + self._past.prefix_hits,
        )
