"""How long a phase of an object lasts, and when something is over next."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from berth.controller.kinds import Object


class Timers:
    """The machinery's waiting, by the virtual clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}  # (uid, phase) -> begun
        self._due: list[float] = []

    def passed(self, obj: Object, phase: str, seconds: float) -> bool:
        """Whether a phase of an object, begun when this was first asked, is over."""
        key = (obj["metadata"]["uid"], phase)
        begun = self._since.setdefault(key, self._clock())
        if self._clock() >= begun + seconds:
            return True
        if begun + seconds not in self._due:
            heapq.heappush(self._due, begun + seconds)
        return False

    def next_at(self) -> float | None:
        return self._due[0] if self._due else None

    def ring(self) -> bool:
        """Whether any is over by now; each rings once."""
        now, rang = self._clock(), False
        while self._due and self._due[0] <= now:
            heapq.heappop(self._due)
            rang = True
        return rang
