"""Is a rank alive, and does it get anywhere? Judged from its heartbeats. Pure: times are given."""

from __future__ import annotations

_FRESH = 1.0  # seconds, two heartbeats


class RankWatch:
    """What one rank's heartbeats have shown so far. All times in seconds of one monotonic clock."""

    def __init__(self, now: float, *, silence_timeout: float, hang_timeout: float) -> None:
        self._silence_timeout = silence_timeout
        self._hang_timeout = hang_timeout
        self._heard = now
        self._moved = now  # when `work` last changed, or the rank was last idle
        self.work = 0  # as last reported

    def heard(self, now: float) -> None:
        """Any message arrived."""
        self._heard = now

    def heartbeat(self, now: float, work: int, busy: bool) -> None:
        """A heartbeat arrived."""
        self._heard = now
        if work != self.work or not busy:
            self.work = work
            self._moved = now

    def forgive(self, seconds: float) -> None:
        """We ourselves stood still this long, so what we did not hear counts against nobody."""
        self._heard += seconds
        self._moved += seconds

    def fault(self, now: float) -> str | None:
        """What is wrong with the rank, or None."""
        if now - self._heard > self._silence_timeout:
            return f"sent no heartbeat for {now - self._heard:.1f} s"
        # Judged on fresh news only: a rank whose heartbeats are late is the rule above's.
        if now - self._heard < _FRESH and now - self._moved > self._hang_timeout:
            return f"made no progress for {now - self._moved:.1f} s in the middle of a step"
        return None
