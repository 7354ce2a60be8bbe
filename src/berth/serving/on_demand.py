"""Several models in one server: each is loaded when a request names it, and ended for another.

What is loaded when, and what for, is decided by turns.py; this does it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from berth.serving.errors import EngineFailed, Overloaded, ServingError, TimedOut, Unavailable
from berth.serving.models import AtEnd, Model, Models
from berth.serving.service import Health, Service
from berth.serving.turns import Candidate, Full, Limits, Turns

log = logging.getLogger("berth.serving")

# After a load that failed, requests for the model are answered with why for so long; then one tries
# again: what was in its way (memory, a volume) may be gone.
_FAILED_SECONDS = 15.0
_RETRY_SECONDS = 5.0  # of a request that may not even wait


@dataclass(frozen=True, slots=True)
class _Failure:
    until: float  # monotonic seconds
    reason: str


class OnDemandModels(Models):
    """Models that share memory or places. Made and used on one event loop."""

    def __init__(
        self,
        models: Sequence[Model],
        candidates: Sequence[Candidate],
        limits: Limits,
        aliases: Sequence[str] | Mapping[str, str] = (),
    ) -> None:
        """
        Args:
            models: at least one. The first answers requests that name none.
            candidates: of each, what it takes.

        Raises: as `Turns`.
        """
        super().__init__(models, aliases)
        self._turns = Turns(candidates, limits)
        self._pinned = [self._models[c.name] for c in candidates if c.pinned]
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._tickets = 0
        self._lives: dict[str, asyncio.Task[None]] = {}  # of what is loading or loaded
        self._ends: set[asyncio.Task[None]] = set()  # of what is ending
        self._failures: dict[str, _Failure] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._pinned_failed = asyncio.Event()

    def waits(self, name: str | None = None, *, generate: bool = False) -> bool:
        """See `Models`."""
        return not self._turns.is_open(self.get(name).name) or super().waits(
            name, generate=generate
        )

    async def acquire(
        self, name: str | None = None, *, generate: bool = False, seconds: float, at_end: AtEnd
    ) -> Service:
        """See `Models`. The model is not ended before the request is over.

        Raises:
            Overloaded: too many requests wait for models already.
            TimedOut: the request's time is over, and its model not loaded.
            EngineFailed, Unavailable: its model cannot run, or the server is shutting down.
        """
        model = self.get(name)
        self._refuse(model.name)
        self._tickets += 1
        ticket = self._tickets
        at_end(partial(self._left, ticket))
        try:
            granted = self._turns.ask(ticket, model.name)
        except Full:
            raise Overloaded(
                f"As many requests as may ({self._turns.waiting}) wait for models that are not "
                "loaded.",
                retry_after=_RETRY_SECONDS,
            ) from None
        if not granted:
            await self._wait(ticket, model, seconds)
        elif self._turns.waiting:
            self._act()  # its model's turn may be over with it
        return await model.acquire(generate=generate, seconds=seconds)

    async def _wait(self, ticket: int, model: Model, seconds: float) -> None:
        waiting = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        self._act()
        try:
            async with asyncio.timeout(seconds):
                await waiting
        except TimeoutError:
            raise TimedOut(f"The model {model.name} was not loaded within {seconds:g} s.") from None
        finally:
            self._waiting.pop(ticket, None)

    def _left(self, ticket: int) -> None:
        """A request is over, whether it had its model or not."""
        self._turns.leave(ticket, time.monotonic())
        if not self._draining:
            self._act()

    def _refuse(self, name: str) -> None:
        if self._draining:
            raise Unavailable("The server is shutting down.", retry_after=5.0)
        failure = self._failures.get(name)
        if failure is not None and (left := failure.until - time.monotonic()) > 0:
            raise Unavailable(failure.reason, retry_after=left)

    # What Turns decides.

    def _act(self) -> None:
        now = time.monotonic()
        decision = self._turns.decide(now)
        for ticket in decision.grant:
            _settle(self._waiting.get(ticket))
        for name in decision.stop:
            log.info("ending %s: it is idle", name)
            self._lives.pop(name).cancel()
            self._end(name)
        for name in decision.start:
            log.info("loading %s: it is asked for", name)
            self._lives[name] = asyncio.create_task(self._live(self._models[name]))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if decision.wake is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(decision.wake - now, self._act)

    async def _live(self, model: Model) -> None:
        """Load a model, and watch it until it cannot run any more."""
        service, name = model.service, model.name
        began = time.monotonic()
        service.start()
        await service.settled()
        if service.health().state != "failed":
            self._failures.pop(name, None)
            now = time.monotonic()
            log.info("%s is loaded after %.1f s", name, now - began)
            self._turns.loaded(name, now)
            self._act()
            await service.failed()
        reason = f"The model {name} cannot be served. {service.health().detail}"
        self._failures[name] = _Failure(time.monotonic() + _FAILED_SECONDS, reason)
        for ticket in self._turns.failed(name):
            _settle(self._waiting.get(ticket), EngineFailed(reason))
        del self._lives[name]
        if model in self._pinned:
            self._pinned_failed.set()
        self._end(name)

    def _end(self, name: str) -> None:
        """End a model's engine, and tell when its memory is free."""

        async def end() -> None:
            await self._models[name].service.unload()
            self._turns.gone(name)
            if not self._draining:
                self._act()

        task = asyncio.create_task(end())
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    # All of them.

    def health(self) -> Health:
        """Ready while every pinned model is: the others are loaded when they are asked for."""
        for model in self._pinned:
            health = model.service.health()
            if not health.ready:
                return health
        if self._draining:
            return Health("draining", "The server is shutting down.", ready=False)
        return Health("ready", "Models are loaded when they are asked for.", ready=True)

    def start(self) -> None:
        """Load the pinned models; returns at once."""
        self._act()

    async def failed(self) -> None:
        """Return when a pinned model cannot run: another is tried again with the next request."""
        await self._pinned_failed.wait()

    async def drain(self, grace: float) -> None:
        """See `Models`."""
        self._draining = True
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._waiting.values():
            _settle(waiting, Unavailable("The server is shutting down.", retry_after=5.0))
        for life in self._lives.values():
            life.cancel()
        await asyncio.gather(*self._lives.values(), *self._ends, return_exceptions=True)
        await super().drain(grace)


def _settle(waiting: asyncio.Future[None] | None, error: ServingError | None = None) -> None:
    """End a request's waiting, if it still waits."""
    if waiting is None or waiting.done():
        return
    if error is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(error)
