"""From first request to last: how many calls are running, and whether new ones are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Lifecycle:
    """One server's calls in flight. All methods belong to the event loop's thread.

    A drain is one-way: readiness is false from then on and new calls are refused, while those
    that are running go on. The runner decides how long to wait for them.
    """

    def __init__(self) -> None:
        self.draining = False
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # Set by the runner: what POST /shutdown sets off after its answer is prepared.
        self.on_shutdown: Callable[[], None] | None = None

    def enter(self) -> None:
        """A call begins."""
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """A call has ended: answered, failed or hung up."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()

    def begin_drain(self) -> None:
        """Take no new calls."""
        self.draining = True

    async def idle(self, seconds: float) -> bool:
        """Wait until no call is running, at most `seconds`. Returns whether that was reached."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def request_shutdown(self) -> None:
        """What a POST to /shutdown means: the same as SIGTERM."""
        self.begin_drain()
        if self.on_shutdown is not None:
            self.on_shutdown()
