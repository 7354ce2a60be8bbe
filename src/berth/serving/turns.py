"""Which models are loaded, which request waits for which, and what is unloaded for it. Pure.

No clock and no I/O: a caller says what happened and when, and `decide` says what is to be done.

Rules:
 - A request for a loaded model is granted at once. One for another model waits; the model of the
   request that has waited longest is loaded first, and none overtakes it.
 - Room is made by ending what is idle, longest idle first, and only if that is not enough what is
   busy, longest loaded first. A busy model is closed: it finishes what it has, and is granted no
   more requests, until it is idle and ends.
 - Nothing is ended for another model before its turn is over: `turn_requests` served, or
   `turn_seconds` loaded, or `quiet_seconds` without a request. So two models that exclude each
   other alternate, and neither starves.
 - A model that has been idle for `keep_alive` seconds ends. A pinned one never does.

Invariants (held by tests/serving/test_turns.py):
 - What is loading, loaded or ending never takes more than `memory` and `max_loaded`.
 - No model is ended while a request uses it.
 - Requests for one model are granted in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["absent", "loading", "loaded", "ending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that may be loaded."""

    name: str
    bytes: int = 0  # of memory, while it is loaded
    pinned: bool = False  # loaded from the beginning, and never ended for another


_LEAST = {
    "max_loaded": 1, "max_waiting": 0, "keep_alive": 0, "turn_requests": 1, "turn_seconds": 0,
    "quiet_seconds": 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all models share. Times in seconds."""

    memory: int | None = None  # bytes for all that is loaded; None: not counted
    max_loaded: int | None = None  # models at once; None: as many as memory holds
    max_waiting: int = 256  # requests that wait for models which are not loaded
    keep_alive: float | None = 300.0  # that an idle model stays; None: for ever
    turn_requests: int = 64
    turn_seconds: float = 5.0
    quiet_seconds: float = 0.25

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it should be at least {least}")


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now, and when to ask again if nothing happens before."""

    start: Sequence[str] = ()  # models to load
    stop: Sequence[str] = ()  # models to end; none of them is in use
    grant: Sequence[int] = ()  # tickets whose model is loaded, in the order in which they came
    wake: float | None = None  # a time after now


class Full(Exception):
    """As many requests as may wait do so already."""


class NeverFits(ValueError):
    """A model for which room can never be made."""

    def __init__(self, name: str, bytes: int, left: int) -> None:
        self.name, self.bytes, self.left = name, bytes, left
        super().__init__(f"{name} takes {bytes} bytes, and {left} are left beside the pinned ones")


@dataclass(slots=True)
class _Model:
    candidate: Candidate
    phase: Phase = "absent"
    loaded_at: float = 0.0
    used_at: float = 0.0  # when its last request ended, or it was loaded
    served: int = 0  # requests since it was loaded
    running: int = 0
    waiting: int = 0
    failed: bool = False  # it is loaded again only for a request
    closed: bool = False  # to new requests: another model waits for its room

    @property
    def idle(self) -> bool:
        return self.running == 0


@dataclass(slots=True)
class _Room:
    """Memory and places that are left."""

    bytes: float
    places: float

    def holds(self, model: _Model) -> bool:
        return self.bytes >= model.candidate.bytes and self.places >= 1

    def take(self, model: _Model) -> None:
        self.bytes -= model.candidate.bytes
        self.places -= 1

    def give(self, model: _Model) -> None:
        self.bytes += model.candidate.bytes
        self.places += 1


@dataclass(slots=True)
class _Plan:
    start: list[str] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    wake: float | None = None

    def wake_at(self, time: float) -> None:
        self.wake = time if self.wake is None else min(self.wake, time)


class Turns:
    """The state of all models, and the queue before those that are not loaded."""

    def __init__(self, candidates: Sequence[Candidate], limits: Limits) -> None:
        """Raises NeverFits for a model that has no room even if it and the pinned ones are alone,
        ValueError for a name that comes twice or more pinned models than may be loaded.
        """
        self._limits = limits
        self._models = {candidate.name: _Model(candidate) for candidate in candidates}
        if len(self._models) < len(candidates):
            raise ValueError("two models have the same name")
        self._waiting: dict[int, _Model] = {}  # by ticket, in the order in which they came
        self._using: dict[int, _Model] = {}
        self._check_sizes()

    def phase(self, name: str) -> Phase:
        return self._models[name].phase

    def is_open(self, name: str) -> bool:
        """Whether a request for a model would be granted at once."""
        model = self._models[name]
        return model.phase == "loaded" and not model.closed and not model.waiting

    def running(self, name: str) -> int:
        """Requests that use a model now."""
        return self._models[name].running

    @property
    def waiting(self) -> int:
        """Requests that wait for a model."""
        return len(self._waiting)

    # What happens.

    def ask(self, ticket: int, name: str) -> bool:
        """A request comes. True if its model is loaded, and it may go on; else it waits.

        Raises: Full.
        """
        model = self._models[name]
        if self.is_open(name):
            self._grant(ticket, model)
            return True
        if len(self._waiting) >= self._limits.max_waiting:
            raise Full
        self._waiting[ticket] = model
        model.waiting += 1
        return False

    def leave(self, ticket: int, now: float) -> None:
        """A request has ended, or waits no more. Nothing happens if it did so before."""
        if (model := self._waiting.pop(ticket, None)) is not None:
            model.waiting -= 1
        elif (model := self._using.pop(ticket, None)) is not None:
            model.running -= 1
            model.used_at = now

    def loaded(self, name: str, now: float) -> None:
        """A model that was to be loaded answers."""
        model = self._models[name]
        model.phase, model.failed = "loaded", False
        model.loaded_at = model.used_at = now
        model.served = 0

    def failed(self, name: str) -> list[int]:
        """A model cannot run, and is being ended; the tickets that waited for it, which leave."""
        model = self._models[name]
        model.phase, model.failed, model.closed = "ending", True, False
        lost = [ticket for ticket, of in self._waiting.items() if of is model]
        for ticket in lost:
            del self._waiting[ticket]
        model.waiting = 0
        return lost

    def gone(self, name: str) -> None:
        """A model that was to end has ended: its memory is free."""
        model = self._models[name]
        model.phase, model.closed = "absent", False

    # What is to be done.

    def decide(self, now: float) -> Decision:
        """What follows from all that has happened. It counts as begun when this returns."""
        plan = _Plan()
        for model in self._models.values():
            model.closed = False
        self._load(plan, now)
        self._end_unused(plan, now)
        granted = [
            ticket
            for ticket, model in self._waiting.items()
            if model.phase == "loaded" and not model.closed
        ]
        for ticket in granted:
            model = self._waiting.pop(ticket)
            model.waiting -= 1
            self._grant(ticket, model)
        return Decision(plan.start, plan.stop, granted, plan.wake)

    def _grant(self, ticket: int, model: _Model) -> None:
        self._using[ticket] = model
        model.running += 1
        model.served += 1

    def _load(self, plan: _Plan, now: float) -> None:
        """Load what is waited for, in order, until one has to wait for room."""
        room, coming = self._room(), _Room(0, 0)
        for model in self._models.values():
            if model.phase == "ending":
                coming.give(model)
        for model in self._wanted():
            if model.phase == "absent" and room.holds(model):
                room.take(model)
                model.phase = "loading"
                plan.start.append(model.candidate.name)
                continue
            if model.phase == "absent":
                hoped = _Room(room.bytes + coming.bytes, room.places + coming.places)
                self._make_room(model, hoped, plan, now)
            return  # what comes behind it would take the room that it waits for

    def _make_room(self, wanted: _Model, hoped: _Room, plan: _Plan, now: float) -> None:
        """End or close models until `wanted` has room. `hoped`: what there is, and is coming."""
        for victim in self._victims():
            if hoped.holds(wanted):
                return
            hoped.give(victim)
            over = self._turn_ends(victim)
            if over is None:  # its first requests are being granted
                continue
            if over > now:
                plan.wake_at(over)
            elif victim.idle:
                victim.phase = "ending"
                plan.stop.append(victim.candidate.name)
            else:
                victim.closed = True

    def _victims(self) -> list[_Model]:
        """What may be ended for another model, first what costs least."""

        def cost(model: _Model) -> tuple[bool, float]:
            return (False, model.used_at) if model.idle else (True, model.loaded_at)

        return sorted(
            (m for m in self._models.values() if m.phase == "loaded" and not m.candidate.pinned),
            key=cost,
        )

    def _turn_ends(self, model: _Model) -> float | None:
        """When it may be ended for another at the earliest; None: not known yet."""
        if model.waiting and not model.served:
            return None
        if model.served >= self._limits.turn_requests:
            return model.loaded_at
        ends = model.loaded_at + self._limits.turn_seconds
        if model.idle and not model.waiting:
            ends = min(ends, model.used_at + self._limits.quiet_seconds)
        return ends

    def _end_unused(self, plan: _Plan, now: float) -> None:
        if self._limits.keep_alive is None:
            return
        for model in self._models.values():
            if (
                model.phase == "loaded"
                and model.idle
                and not model.waiting
                and not model.candidate.pinned
            ):
                ends = model.used_at + self._limits.keep_alive
                if ends > now:
                    plan.wake_at(ends)
                else:
                    model.phase = "ending"
                    plan.stop.append(model.candidate.name)

    def _wanted(self) -> Iterator[_Model]:
        """Models that should be loaded and are not, in the order in which they are due."""
        seen: set[str] = set()
        pinned = (m for m in self._models.values() if m.candidate.pinned and not m.failed)
        for model in (*pinned, *self._waiting.values()):
            if model.candidate.name not in seen and model.phase in ("absent", "ending"):
                seen.add(model.candidate.name)
                yield model

    def _room(self) -> _Room:
        limits = self._limits
        room = _Room(
            float("inf") if limits.memory is None else limits.memory,
            float("inf") if limits.max_loaded is None else limits.max_loaded,
        )
        for model in self._models.values():
            if model.phase != "absent":
                room.take(model)
        return room

    def _check_sizes(self) -> None:
        room = self._room()
        for pinned in (True, False):
            for model in self._models.values():
                if model.candidate.pinned is not pinned:
                    continue
                if not room.places >= 1:
                    raise ValueError(
                        f"max_loaded is {self._limits.max_loaded}, and the pinned models leave "
                        f"no place for {model.candidate.name}"
                    )
                if not room.holds(model):
                    raise NeverFits(model.candidate.name, model.candidate.bytes, int(room.bytes))
                if pinned:
                    room.take(model)
