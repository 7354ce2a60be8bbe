"""How much one key may do: requests in a minute, and requests at one time. Pure.

At most `requests_per_minute` requests are let in within any 60 seconds, however they are spread: a
window that slides, not one that begins anew with each minute (which would let twice as many in
around its edge). A refused request takes nothing of what is left.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

WINDOW = 60.0  # seconds
LIMIT_HEADERS = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-concurrent",
    "x-ratelimit-remaining-concurrent",
)
# A request at one time too many cannot know when another ends.
_RETRY_CONCURRENT = 1.0


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request was not let in, and when to come again."""

    limit: Literal["requests_per_minute", "concurrent"]
    most: int
    retry_after: float  # seconds


class Limiter:
    """What one key has used, in one server. `now` is any clock that never goes back, in seconds.

    Costs the same however many requests there were; holds one number a request of the last minute.
    """

    __slots__ = ("_entered", "concurrent", "requests_per_minute", "running")

    def __init__(self, requests_per_minute: int | None, concurrent: int | None) -> None:
        self.requests_per_minute = requests_per_minute  # both may be changed at any time
        self.concurrent = concurrent
        self.running = 0
        self._entered: deque[float] = deque()  # of the last minute, oldest first

    def enter(self, now: float) -> Refused | None:
        """A request comes: None where it is let in, and then `leave` must follow."""
        if self.concurrent is not None and self.running >= self.concurrent:
            return Refused("concurrent", self.concurrent, _RETRY_CONCURRENT)
        most = self.requests_per_minute
        if most is not None:
            self._forget(now)
            if len(self._entered) >= most:
                # Where the limit was lowered, more than one must leave the window first.
                freeing = self._entered[len(self._entered) - most]
                return Refused("requests_per_minute", most, freeing + WINDOW - now)
            self._entered.append(now)
        self.running += 1
        return None

    def leave(self) -> None:
        """A request that was let in has ended."""
        self.running -= 1

    def headers(self, now: float) -> list[tuple[bytes, bytes]]:
        """What the answer says about it, under OpenAI's names."""
        found: list[tuple[bytes, bytes]] = []
        most = self.requests_per_minute
        if most is not None:
            self._forget(now)
            left = max(0, most - len(self._entered))
            reset = self._entered[-1] + WINDOW - now if self._entered else 0.0
            found += [
                (b"x-ratelimit-limit-requests", b"%d" % most),
                (b"x-ratelimit-remaining-requests", b"%d" % left),
                (b"x-ratelimit-reset-requests", duration(reset).encode()),
            ]
        if self.concurrent is not None:
            left = max(0, self.concurrent - self.running)
            found += [
                (b"x-ratelimit-limit-concurrent", b"%d" % self.concurrent),
                (b"x-ratelimit-remaining-concurrent", b"%d" % left),
            ]
        return found

    def idle(self, now: float) -> bool:
        """Whether it knows nothing that a new one would not."""
        self._forget(now)
        return not self.running and not self._entered

    def _forget(self, now: float) -> None:
        entered, gone = self._entered, now - WINDOW
        while entered and entered[0] <= gone:
            entered.popleft()


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them in its headers: 1s, 20ms, 59.5s, 1m0s. Never too short."""
    milliseconds = max(0, -int(-seconds * 1000 // 1))
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    whole = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{whole}s" if minutes else f"{whole}s"
