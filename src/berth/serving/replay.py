"""What an engine that takes a dead one's place is given, and in which order.

Every request that the dead engine had is sent again, except that those which may be what kills
engines are tried one at a time: then the next death tells which one it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar


class Replayable(Protocol):
    """What is looked at of a running request; `ModelGeneration` is one."""

    in_engine: bool  # it was sent to the present engine, and not ended there

    @property
    def ended(self) -> bool:
        """Whether it was answered, or failed, or cancelled."""
        ...

    @property
    def suspect(self) -> bool:
        """Whether it may be what kills engines."""
        ...

    def lost_engine(self, *, to_blame: bool) -> None:
        """The engine that computed it died; `to_blame` counts towards giving it up."""
        ...


R = TypeVar("R", bound=Replayable)


class Replay(Generic[R]):
    """The order of one model's requests over the deaths of its engines. Does no I/O."""

    def __init__(self, send: Callable[[R], None]) -> None:
        """`send` gives a request to the present engine."""
        self._send = send
        self._suspects: deque[R] = deque()  # waiting to be tried one at a time
        self._on_trial: R | None = None

    def engine_ready(self, active: Iterable[R]) -> None:
        """A new engine answers: send it all that runs, the suspects one after the other."""
        for request in list(active):
            if request.suspect:
                self._suspects.append(request)
            else:
                self._send(request)
        self._try_next()

    def engine_lost(self, active: Iterable[R], has_begun: Callable[[R], bool]) -> None:
        """The engine is dead. `has_begun` tells whether it had begun to compute a request."""
        self._suspects.clear()
        # While a suspect ran, it alone is to blame, and not those that ran beside it.
        on_trial, self._on_trial = self._on_trial, None
        for request in list(active):
            if not request.in_engine:
                continue
            if has_begun(request):
                request.lost_engine(to_blame=on_trial is None or request is on_trial)
            else:  # it waited there, or was sent to an engine that was dead by then
                request.in_engine = False

    def cleared(self, request: R) -> None:
        """It got a token or has ended: whatever kills engines, it is not this one, or not now."""
        if request is self._on_trial:
            self._on_trial = None
            self._try_next()

    def _try_next(self) -> None:
        while self._on_trial is None and self._suspects:
            request = self._suspects.popleft()
            if not request.ended:
                self._on_trial = request
                self._send(request)
