"""What goes wrong, and when: drawn from a seed, from `since` until `until`."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Fault = Literal["none", "refused", "lost", "done_but_lost", "throttled", "unavailable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Chances of each fault, and the windows of the large ones, in virtual seconds.

    Args:
        crash_at: numbers of the awaits at which the controller is killed, over all its lives.
        outages: the API server answers nobody, and watches stand still.
        isolated: by number of the controller process, when it cannot reach its Lease.
        frozen: by number of the process, when it does not run at all (it does not know).
    """

    request: float = 0.0  # that a request goes wrong
    drop: float = 0.0  # that a watch event never comes
    repeat: float = 0.0
    reorder: float = 0.0
    expire: float = 0.0  # that a watch breaks with 410, and what happens meanwhile is missed
    slow_watch: float = 0.1  # seconds an event takes at most
    crash: float = 0.0  # at each await
    crash_at: frozenset[int] = frozenset()
    outages: tuple[tuple[float, float], ...] = ()
    isolated: tuple[tuple[int, float, float], ...] = ()
    frozen: tuple[tuple[int, float, float], ...] = ()
    since: float = 0.0
    until: float = 200.0


@dataclass(slots=True)
class Dice:
    """Draws faults, and stops drawing at their end so that everything can settle."""

    faults: Faults
    random: random.Random
    awaits: int = field(default=0)
    met: Counter[str] = field(default_factory=Counter)  # faults by kind

    def request(self, now: float, *, write: bool) -> Fault:
        if any(begin <= now < end for begin, end in self.faults.outages):
            self.met["outage"] += 1
            return "unavailable"
        if not self._at_work(now) or self.random.random() >= self.faults.request:
            return "none"
        kinds: tuple[Fault, ...] = ("refused", "lost", "throttled", "unavailable")
        found = self.random.choice((*kinds, "done_but_lost", "done_but_lost") if write else kinds)
        self.met[found] += 1
        return found

    def crashes(self, now: float) -> bool:
        """At an await: whether the process is killed there."""
        self.awaits += 1
        if self.awaits in self.faults.crash_at or (
            self._at_work(now) and self._chance(self.faults.crash)
        ):
            self.met["crash"] += 1
            return True
        return False

    def event(self, now: float) -> list[float]:
        """Seconds after which a watch event arrives: none, once or twice."""
        delay = self.random.uniform(0.01, self.faults.slow_watch)
        if not self._at_work(now):
            return [delay]
        if self._chance(self.faults.drop):
            self.met["drop"] += 1
            return []
        if self._chance(self.faults.reorder):
            self.met["reorder"] += 1
            delay += self.random.uniform(0.5, 5)
        if self._chance(self.faults.repeat):
            self.met["repeat"] += 1
            return [delay, delay + 1]
        return [delay]

    def expires(self, now: float) -> float:
        """Seconds for which a watch is broken from now; 0: it is not."""
        if self._at_work(now) and self._chance(self.faults.expire):
            self.met["expire"] += 1
            return self.random.uniform(1, 30)
        return 0.0

    def latency(self) -> float:
        return self.random.uniform(0.002, 0.03)

    def isolated(self, process: int, now: float) -> bool:
        found = any(n == process and b <= now < e for n, b, e in self.faults.isolated)
        self.met["isolated"] += found
        return found

    def thaws_at(self, process: int, now: float) -> float:
        """When a process runs again; `now` where it runs."""
        ends = [e for n, b, e in self.faults.frozen if n == process and b <= now < e]
        self.met["frozen"] += bool(ends)
        return max(ends, default=now)

    def _at_work(self, now: float) -> bool:
        return self.faults.since <= now < self.faults.until

    def _chance(self, chance: float) -> bool:
        return chance > 0 and self.random.random() < chance
