"""Is a rank alive, and does it get anywhere? Judged from its heartbeats. Pure: times are given."""

from __future__ import annotations


class RankWatch:
    """What one rank's heartbeats have shown so far. All times in seconds of one monotonic clock."""

    def __init__(
        self, now: float, *, period: float, silence_timeout: float, hang_timeout: float
    ) -> None:
        self._period = period  # between two heartbeats
        self._work = 0  # as last reported
        self.busy = True
        self.expect(now, silence_timeout=silence_timeout, hang_timeout=hang_timeout)

    def expect(self, now: float, *, silence_timeout: float, hang_timeout: float) -> None:
        """Judge by these limits from now on; what was before is forgotten."""
        self._silence_timeout = silence_timeout
        self._hang_timeout = hang_timeout
        self._heard = now
        self._moved = now  # when `work` last changed, or the rank was last idle

    def heard(self, now: float) -> None:
        """A message that only shows that the process lives."""
        self._heard = now

    def stepped(self, now: float) -> None:
        """The report of a step arrived; it stands for a heartbeat, and is progress."""
        self._heard = self._moved = now

    @property
    def silent_at(self) -> float:
        """When it will have been silent for too long, if nothing more is heard."""
        return self._heard + self._silence_timeout

    def heartbeat(self, now: float, work: int, busy: bool) -> None:
        """A heartbeat arrived."""
        self._heard = now
        self.busy = busy
        if work != self._work or not busy:
            self._work = work
            self._moved = now

    def forgive(self, seconds: float) -> None:
        """This process stood still this long, so a rank's silence in it does not count."""
        self._heard += seconds
        self._moved += seconds

    def fault(self, now: float) -> str | None:
        """What is wrong with the rank, or None."""
        if now > self.silent_at:
            return f"sent no heartbeat for {now - self._heard:.1f} s"
        # Judged on fresh news only: the rule above judges a rank whose heartbeats are late.
        if now - self._heard < 2 * self._period and now - self._moved > self._hang_timeout:
            return f"made no progress for {now - self._moved:.1f} s in the middle of a step"
        return None
