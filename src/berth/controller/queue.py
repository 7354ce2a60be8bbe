"""Which Workspace is looked at next. Pure: the time is passed in, the jitter is seeded.

A key waits in here once, however often it was added, and is never handed out twice at a time:
that is the order of reconciles of one Workspace. What fails waits longer and longer, and so does
what keeps writing: two controllers that disagree must not do so a thousand times a second.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from berth.controller.kinds import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast, in seconds."""

    gap: float = 0.2  # at least between two looks at one Workspace
    first: float = 0.5  # after the first failure; doubles
    longest: float = 300.0
    jitter: float = 0.25  # of a wait, more or less
    patience: int = 5  # looks that wrote something before they count as a quarrel
    rate: float = 20.0  # looks a second, of all Workspaces
    burst: int = 50


@dataclass(slots=True)
class _Entry:
    due: float | None = None  # None: not waiting
    added: float = 0.0  # when it came in, for the metric
    busy: bool = False
    dirty: float | None = None  # added again while busy: due then
    failures: int = 0
    writes: int = 0
    ready_at: float = 0.0  # not before this, whatever adds it


@dataclass(slots=True)
class WorkQueue:
    """Keys with due times."""

    pace: Pace = field(default_factory=Pace)
    random: random.Random = field(default_factory=lambda: random.Random(0))
    _entries: dict[Key, _Entry] = field(default_factory=dict)
    _heap: list[tuple[float, Key]] = field(default_factory=list)
    _tokens: float = 0.0
    _filled: float = float("-inf")

    def __len__(self) -> int:
        return sum(entry.due is not None for entry in self._entries.values())

    def add(self, key: Key, now: float, after: float = 0.0) -> None:
        """Look at it in `after` seconds, or sooner if that is already planned."""
        entry = self._entries.setdefault(key, _Entry())
        due = max(now + after, entry.ready_at)
        if entry.busy:
            entry.dirty = due if entry.dirty is None else min(entry.dirty, due)
        elif entry.due is None or due < entry.due:
            if entry.due is None:
                entry.added = now
            entry.due = due
            heapq.heappush(self._heap, (due, key))

    def next_at(self) -> float | None:
        """When the next key may be taken; None: nothing waits."""
        self._skip_stale()
        if not self._heap:
            return None
        due = self._heap[0][0]
        if self._tokens >= 1 or self._filled == float("-inf"):
            return due
        return max(due, self._filled + (1 - self._tokens) / self.pace.rate)

    def take(self, now: float) -> Key | None:
        """A key that is due; it is busy until `done`."""
        self._skip_stale()
        if not self._heap or self._heap[0][0] > now or not self._spend(now):
            return None
        _, key = heapq.heappop(self._heap)
        entry = self._entries[key]
        entry.due, entry.busy, entry.dirty = None, True, None
        return key

    def waited(self, key: Key, now: float) -> float:
        """Seconds since a key was added."""
        return max(0.0, now - self._entries[key].added)

    def failures(self, key: Key) -> int:
        entry = self._entries.get(key)
        return 0 if entry is None else entry.failures

    def done(
        self,
        key: Key,
        now: float,
        *,
        failed: bool = False,
        wrote: bool = False,
        again: float | None = None,
        at_least: float = 0.0,
        at_most: float | None = None,
    ) -> None:
        """The look at a key is over.

        Args:
            failed: the look broke off; the key is looked at again after a wait that doubles.
            wrote: something was written, or was to be. If that goes on, the waits grow.
            again: looked at again after so many seconds anyway.
            at_least: seconds that the API server asked to be left alone.
            at_most: after a failure, seconds until it is looked at again; None: ever more.
        """
        entry = self._entries[key]
        entry.busy = False
        entry.failures = entry.failures + 1 if failed else 0
        entry.writes = entry.writes + 1 if wrote else 0
        pause = self.pace.gap
        if failed:
            wait = self._backoff(entry.failures)
            wait = wait if at_most is None else min(wait, at_most)
            pause = max(pause, at_least, wait)
        elif entry.writes > self.pace.patience:
            pause = max(pause, self._backoff(entry.writes - self.pace.patience))
        entry.ready_at = now + pause
        dues = [] if entry.dirty is None else [entry.dirty]
        if failed:
            dues.append(entry.ready_at)
        if again is not None:
            dues.append(now + again)
        entry.dirty = None
        if dues:
            self.add(key, now, min(dues) - now)

    def forgive(self, now: float) -> None:
        """What failed while the API server was away waits no longer than after a first failure."""
        for key, entry in self._entries.items():
            if not entry.failures:
                continue
            entry.failures = 0
            entry.ready_at = min(entry.ready_at, now + self._backoff(1))
            if not entry.busy:
                self.add(key, now)

    def forget(self, key: Key) -> None:
        """A Workspace that is gone. News of it may add it again."""
        entry = self._entries.get(key)
        if entry is not None and not entry.busy and entry.due is None:
            del self._entries[key]

    def _backoff(self, times: int) -> float:
        wait = min(self.pace.longest, self.pace.first * 2.0 ** min(times - 1, 30))
        return wait * (1 + self.pace.jitter * self.random.uniform(-1, 1))

    def _spend(self, now: float) -> bool:
        """A token of the rate that all Workspaces share."""
        gained = (now - self._filled) * self.pace.rate
        self._tokens = min(float(self.pace.burst), self._tokens + gained)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _skip_stale(self) -> None:
        """Entries of the heap that an earlier due time replaced."""
        while self._heap:
            due, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.due == due and not entry.busy:
                return
            heapq.heappop(self._heap)
