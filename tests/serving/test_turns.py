"""Any order of requests, loads and ends: memory is kept to, nothing in use ends, none starves.

The key test runs `Turns` in a small world with a clock of its own, in which loads and ends take
time, some loads fail, and some requests give up.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.serving.turns import Candidate, Full, Limits, NeverFits, Turns

LOAD, END, LONGEST = 3.0, 0.5, 4.0  # seconds: of a load, of an end, of a request at most


@dataclass(frozen=True)
class Request:
    at: float
    model: str
    seconds: float
    patience: float | None = None  # how long it waits at most


@dataclass
class World:
    """Does what `Turns` decides, and checks it."""

    candidates: list[Candidate]
    limits: Limits
    requests: list[Request]
    bad_loads: set[int] = field(default_factory=set)  # which loads fail, counted from 0

    def __post_init__(self) -> None:
        self.turns = Turns(self.candidates, self.limits)
        self.sizes = {c.name: c.bytes for c in self.candidates}
        self.pinned = {c.name for c in self.candidates if c.pinned}
        self.now, self.loads, self.number = 0.0, 0, 0
        self.events: list[tuple[float, int, str, object]] = []
        self.held: set[str] = set()  # what takes memory
        self.ready: set[str] = set()
        self.users: dict[str, set[int]] = defaultdict(set)
        self.asked: dict[str, list[int]] = defaultdict(list)  # that wait, in order
        self.waited: dict[int, float] = {}  # seconds until the grant
        self.ended: dict[int, str] = {}  # full, gave up, failed, done
        self.last_use: dict[str, float] = {}
        self.since: dict[str, float] = {}
        self.log: list[tuple[float, str, str]] = []

    def at(self, time: float, kind: str, what: object) -> None:
        self.number += 1
        heapq.heappush(self.events, (time, self.number, kind, what))

    def run(self, until: float = 1e6) -> None:
        for ticket, request in enumerate(self.requests):
            self.at(request.at, "ask", ticket)
        self.decide()
        while self.events and self.events[0][0] <= until:
            self.now, _, kind, what = heapq.heappop(self.events)
            getattr(self, f"on_{kind}")(what)
            self.decide()

    def on_ask(self, ticket: int) -> None:
        request = self.requests[ticket]
        try:
            granted = self.turns.ask(ticket, request.model)
        except Full:
            assert sum(map(len, self.asked.values())) == self.limits.max_waiting
            self.ended[ticket] = "full"
            return
        if granted:
            assert not self.asked[request.model]  # it overtakes none
            self.grant(ticket)
            return
        self.asked[request.model].append(ticket)
        if request.patience is not None:
            self.at(self.now + request.patience, "impatient", ticket)

    def on_impatient(self, ticket: int) -> None:
        if ticket in self.asked[self.requests[ticket].model]:
            self.asked[self.requests[ticket].model].remove(ticket)
            self.ended[ticket] = "gave up"
            self.turns.leave(ticket, self.now)

    def on_loaded(self, number_and_name: tuple[int, str]) -> None:
        number, name = number_and_name
        if number in self.bad_loads:
            lost = self.turns.failed(name)
            assert lost == self.asked[name]
            self.ended.update(dict.fromkeys(lost, "failed"))
            self.asked[name] = []
            self.at(self.now + END, "gone", name)
            return
        self.ready.add(name)
        self.last_use[name] = self.since[name] = self.now
        self.turns.loaded(name, self.now)
        self.log.append((self.now, "loaded", name))

    def on_gone(self, name: str) -> None:
        self.held.remove(name)
        self.turns.gone(name)

    def on_done(self, ticket: int) -> None:
        name = self.requests[ticket].model
        self.users[name].remove(ticket)
        self.ended[ticket] = "done"
        self.last_use[name] = self.now
        self.turns.leave(ticket, self.now)

    def on_wake(self, _: object) -> None:
        """Only the decision is due."""

    def grant(self, ticket: int) -> None:
        request = self.requests[ticket]
        assert request.model in self.ready
        self.users[request.model].add(ticket)
        self.waited[ticket] = self.now - request.at
        self.at(self.now + request.seconds, "done", ticket)

    def decide(self) -> None:
        decision = self.turns.decide(self.now)
        others = any(self.asked.values())
        for name in decision.stop:
            assert name not in self.pinned
            assert not self.users[name]
            idle = self.now - self.last_use[name]
            kept = self.limits.keep_alive
            if kept is None or idle < kept - 1e-9:
                assert others, "ended before its time, and nothing waits"
            self.ready.remove(name)
            self.log.append((self.now, "stop", name))
            self.at(self.now + END, "gone", name)
        for ticket in decision.grant:
            name = self.requests[ticket].model
            assert self.asked[name][0] == ticket
            self.asked[name].pop(0)
            self.grant(ticket)
        for name in decision.start:
            assert name not in self.held
            self.held.add(name)
            self.at(self.now + LOAD, "loaded", (self.loads, name))
            self.loads += 1
        assert self.limits.memory is None or (
            sum(self.sizes[name] for name in self.held) <= self.limits.memory
        )
        assert self.limits.max_loaded is None or len(self.held) <= self.limits.max_loaded
        if decision.wake is not None:
            assert decision.wake > self.now
            self.at(decision.wake, "wake", None)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(st.integers(2, 5))
    sizes = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    names = [f"m{i}" for i in range(count)]
    pinned = draw(st.sampled_from([None, *range(count)]))
    least = max(sizes) + (sizes[pinned] if pinned is not None else 0)
    limits = Limits(
        memory=draw(st.none() | st.integers(least, least + 6)),
        max_loaded=draw(st.none() | st.integers(1 if pinned is None else 2, count)),
        max_waiting=draw(st.sampled_from([2, 1000])),
        keep_alive=draw(st.sampled_from([None, 0.0, 1.0, 10.0])),
        turn_requests=draw(st.integers(1, 4)),
        turn_seconds=draw(st.sampled_from([0.0, 1.0, 5.0])),
        quiet_seconds=draw(st.sampled_from([0.0, 0.25])),
    )
    tenths = st.integers(0, 300).map(lambda n: n / 10)
    requests = draw(
        st.lists(
            st.builds(
                Request,
                at=tenths,
                model=st.sampled_from(names),
                seconds=st.integers(0, int(LONGEST * 10)).map(lambda n: n / 10),
                patience=st.none() | st.sampled_from([0.1, 1.0, 5.0]),
            ),
            max_size=40,
        )
    )
    candidates = [
        Candidate(name=name, bytes=size, pinned=at == pinned)
        for at, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]
    return World(candidates, limits, requests, draw(st.sets(st.integers(0, 12), max_size=3)))


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_memory_is_kept_to_and_every_request_has_its_turn(world: World) -> None:
    world.run()
    assert len(world.ended) == len(world.requests)
    # Before a request each other model may be due once, and its own may have to come back.
    failures = len(world.bad_loads)
    step = world.limits.turn_seconds + LONGEST + END + LOAD
    bound = (len(world.candidates) + failures + 1) * step
    assert all(seconds <= bound for seconds in world.waited.values())
    assert world.turns.waiting == 0
    assert not any(world.turns.running(c.name) for c in world.candidates)
    if world.limits.keep_alive is not None:  # nothing idle is kept for ever
        assert world.ready <= world.pinned


def two(limits: Limits, requests: list[Request]) -> World:
    return World([Candidate(name="a"), Candidate(name="b")], limits, requests)


def stops(world: World) -> list[tuple[float, str]]:
    return [(at, name) for at, what, name in world.log if what == "stop"]


def test_a_loaded_model_is_used_at_once() -> None:
    world = two(Limits(), [Request(0, "a", 1), Request(4, "a", 1), Request(4.5, "a", 1)])
    world.run(100)
    assert [world.waited[i] for i in range(3)] == [LOAD, 0, 0]


def test_what_has_room_is_loaded_beside_the_other() -> None:
    world = two(Limits(max_loaded=2), [Request(0, "a", 30), Request(1, "b", 1)])
    world.run(100)
    assert world.waited == {0: LOAD, 1: LOAD}
    assert stops(world) == []


def test_two_models_that_exclude_each_other_alternate_under_load() -> None:
    requests = [
        Request(i * 0.5 + (name == "b") * 0.1, name, 0.6) for i in range(120) for name in "ab"
    ]
    world = two(Limits(max_loaded=1, turn_seconds=5.0), requests)
    world.run()
    assert set(world.ended.values()) == {"done"}
    turns = [name for _, what, name in world.log if what == "loaded"]
    assert turns == ["a", "b"] * (len(turns) // 2)
    assert max(world.waited.values()) <= 2 * (5.0 + 0.6 + END + LOAD)


def test_a_turn_lasts_its_seconds_while_requests_come() -> None:
    requests = [Request(i * 0.1, "a", 0.2) for i in range(200)] + [Request(3.5, "b", 1)]
    world = two(Limits(max_loaded=1, turn_seconds=5.0, turn_requests=1000), requests)
    world.run(20)
    (at, name), *_ = stops(world)
    assert name == "a"
    assert 8.0 <= at <= 8.0 + 0.2 + 1e-6  # loaded at 3, then five seconds, then what runs ends


def test_a_turn_ends_with_its_requests() -> None:
    requests = [Request(0, "a", 1) for _ in range(8)] + [Request(0.5, "b", 1)]
    world = two(Limits(max_loaded=1, turn_seconds=100.0, turn_requests=8), requests)
    world.run(20)
    assert stops(world)[0] == (4.0, "a")  # all eight were served at once


def test_a_model_that_is_quiet_makes_room_at_once() -> None:
    world = two(Limits(max_loaded=1), [Request(0, "a", 1), Request(9, "b", 1)])
    world.run(20)
    assert stops(world)[0] == (9.0, "a")
    assert world.waited[1] == END + LOAD


def test_the_model_that_was_idle_longest_is_ended() -> None:
    candidates = [Candidate(name=name, bytes=1) for name in "abc"]
    requests = [Request(0, "b", 1), Request(1, "a", 1), Request(10, "b", 1), Request(20, "c", 1)]
    world = World(candidates, Limits(memory=2), requests)
    world.run(30)
    assert [name for _, name in stops(world)] == ["a"]


def test_several_are_ended_for_a_large_one_and_no_more_than_it_needs() -> None:
    sizes = {"a": 1, "b": 1, "c": 1, "large": 3}
    candidates = [Candidate(name=name, bytes=size) for name, size in sizes.items()]
    requests = [Request(i, name, 0.5) for i, name in enumerate("abc")] + [Request(20, "large", 1)]
    world = World(candidates, Limits(memory=5, keep_alive=None), requests)
    world.run(100)
    assert [name for _, name in stops(world)] == ["a"]


def test_none_overtakes_a_large_model_that_waits_for_room() -> None:
    sizes = {"a": 1, "large": 2, "small": 1}
    candidates = [Candidate(name=name, bytes=size) for name, size in sizes.items()]
    requests = [Request(0, "a", 20), Request(9, "large", 1), Request(10, "small", 1)]
    world = World(candidates, Limits(memory=2), requests)
    world.run(100)
    loads = [(at, name) for at, what, name in world.log if what == "loaded"]
    assert loads == [(3.0, "a"), (26.5, "large"), (31.25, "small")]


def test_a_closed_model_opens_again_when_the_other_is_not_waited_for_any_more() -> None:
    turns = Turns([Candidate(name="a"), Candidate(name="b")], Limits(max_loaded=1))
    turns.ask(1, "a")
    turns.decide(0)
    turns.loaded("a", 0)
    turns.decide(0)
    turns.ask(2, "b")
    assert turns.decide(9).stop == []  # a is busy, so it is closed
    assert turns.ask(3, "a") is False
    turns.leave(2, 10)
    assert turns.decide(10).grant == [3]
    assert turns.phase("a") == "loaded"
    assert turns.running("a") == 2


def test_an_idle_model_ends_after_its_time_and_a_pinned_one_stays() -> None:
    candidates = [Candidate(name="a"), Candidate(name="kept", pinned=True)]
    world = World(candidates, Limits(keep_alive=10), [Request(5, "a", 2), Request(5, "kept", 2)])
    world.run()
    assert stops(world) == [(20.0, "a")]  # loaded at 8, done at 10
    assert world.waited[1] == 0  # it was loaded before any request


def test_a_load_that_fails_is_said_to_those_who_wait_and_the_others_go_on() -> None:
    world = two(Limits(max_loaded=1), [Request(0, "a", 1), Request(0, "a", 1), Request(1, "b", 1)])
    world.bad_loads = {0}
    world.run(50)
    assert world.ended == {0: "failed", 1: "failed", 2: "done"}


def test_a_pinned_model_that_failed_is_loaded_again_only_for_a_request() -> None:
    turns = Turns([Candidate(name="a", pinned=True)], Limits())
    assert turns.decide(0).start == ["a"]
    turns.failed("a")
    turns.gone("a")
    assert turns.decide(1).start == []
    turns.ask(1, "a")
    assert turns.decide(2).start == ["a"]


def test_waiting_is_bounded() -> None:
    turns = Turns([Candidate(name="a")], Limits(max_waiting=1))
    assert turns.ask(1, "a") is False
    with pytest.raises(Full):
        turns.ask(2, "a")
    turns.decide(0)
    turns.loaded("a", 1)
    assert turns.decide(1).grant == [1]
    assert turns.ask(3, "a") is True  # what is loaded has no such bound here


def test_a_model_that_can_never_fit_is_refused_from_the_beginning() -> None:
    models = [Candidate(name="a", bytes=6, pinned=True), Candidate(name="b", bytes=5)]
    with pytest.raises(NeverFits) as refused:
        Turns(models, Limits(memory=10))
    assert (refused.value.name, refused.value.bytes, refused.value.left) == ("b", 5, 4)
    with pytest.raises(ValueError, match="no place for b"):
        Turns(models, Limits(max_loaded=1))
    with pytest.raises(ValueError, match="same name"):
        Turns([Candidate(name="a"), Candidate(name="a")], Limits())


@pytest.mark.parametrize(
    ("field", "value"), [("max_loaded", 0), ("keep_alive", -1.0), ("turn_requests", 0)]
)
def test_a_limit_out_of_its_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} is {value}; it should be at least"):
        Limits(**{field: value})  # type: ignore[arg-type]
