"""Rank 0's loop, whichever engine it runs: take in what arrived, compute a step, report it."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Protocol

from berth.engines.host.link import Link
from berth.protocol.messages import Cancel, EngineStats, Shutdown, StepReport, Submit, ToEngine

_IDLE_SECONDS = 1.0


class EngineCore(Protocol):
    """An engine without its socket: requests in, step reports out. Called from one thread."""

    @property
    def has_work(self) -> bool:
        """Whether step() would compute anything."""

    def submit(self, message: Submit) -> StepReport | None:
        """Queue a request. Returns the report of its end if it can or need not run."""

    def cancel(self, request_ids: list[int]) -> None:
        """Forget requests; ids that have ended are passed over."""

    def step(self) -> StepReport | None:
        """Compute one step. None if it has nothing to report (a chunk of a prompt)."""

    def stats(self) -> EngineStats:
        """Gauges and counters of this moment."""


class _Stop(Exception):
    """The supervisor said Shutdown."""


class Loop:
    """Runs a core until the supervisor says Shutdown."""

    def __init__(
        self, core: EngineCore, link: Link, *, idle: Callable[[], None] | None = None
    ) -> None:
        """`idle` is called each second in which there is nothing to do."""
        self._core = core
        self._link = link
        self._idle = idle

    def run(self) -> None:
        """Serve until Shutdown. What the core raises ends it."""
        try:
            while True:
                if not self._core.has_work:
                    self._take(self._next())
                self.turn()
        except _Stop:
            return

    def turn(self) -> None:
        """Take in what has arrived, and compute a step if there is work.

        A core with a long step calls it within the step, so that other requests get theirs.
        """
        while True:
            try:
                message = self._link.inbox.get_nowait()
            except queue.Empty:
                break
            self._take(message)
        if self._core.has_work:
            report = self._core.step()
            if report is not None:
                self._link.send(report)

    def _next(self) -> ToEngine:
        """Wait for word from the supervisor."""
        while True:
            try:
                return self._link.inbox.get(timeout=_IDLE_SECONDS if self._idle else None)
            except queue.Empty:
                assert self._idle is not None
                self._idle()

    def _take(self, message: ToEngine) -> None:
        if isinstance(message, Shutdown):
            raise _Stop
        if isinstance(message, Cancel):
            self._core.cancel(message.request_ids)
            if not self._core.has_work:  # no step will tell that the memory is free
                self._link.send(StepReport([], self._core.stats()))
        elif isinstance(message, Submit):
            refused = self._core.submit(message)
            if refused is not None:
                self._link.send(refused)
