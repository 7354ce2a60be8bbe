"""What the engine after a dead one is given: everything once, and suspects one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from berth.serving.replay import Replay


@dataclass(eq=False)
class Running:
    """A request as `Replay` sees it."""

    name: str
    in_engine: bool = False
    ended: bool = False
    suspect: bool = False
    blamed: int = 0
    survived: int = 0

    def lost_engine(self, *, to_blame: bool) -> None:
        self.in_engine = False
        self.survived += 1
        self.blamed += to_blame
        self.suspect = self.blamed >= 2


@dataclass
class Engine:
    """Notes what it is sent."""

    sent: list[str] = field(default_factory=list)

    def __call__(self, request: Running) -> None:
        request.in_engine = True
        self.sent.append(request.name)


def begun(_: Running) -> bool:
    return True


def test_all_that_ran_is_sent_again_in_order() -> None:
    engine = Engine()
    replay, requests = Replay(engine), [Running(name) for name in "abc"]
    replay.engine_ready(requests)
    replay.engine_lost(requests, begun)
    replay.engine_ready(requests)
    assert engine.sent == [*"abc", *"abc"]
    assert [r.blamed for r in requests] == [1, 1, 1]


def test_suspects_are_tried_one_after_the_other() -> None:
    engine = Engine()
    replay = Replay(engine)
    first, second, innocent = Running("s", suspect=True), Running("t", suspect=True), Running("i")
    replay.engine_ready([first, second, innocent])
    assert engine.sent == ["i", "s"]
    replay.cleared(innocent)
    assert engine.sent == ["i", "s"]
    replay.cleared(first)
    assert engine.sent == ["i", "s", "t"]


def test_only_the_suspect_on_trial_is_blamed_for_a_death() -> None:
    engine = Engine()
    replay = Replay(engine)
    suspect, other = Running("s", suspect=True), Running("o")
    replay.engine_ready([suspect, other])
    replay.engine_lost([suspect, other], begun)
    assert (suspect.blamed, other.blamed) == (1, 0)
    assert other.survived == 1


def test_what_the_engine_had_not_begun_is_not_blamed() -> None:
    replay = Replay(Engine())
    ran, waited = Running("r"), Running("w")
    replay.engine_ready([ran, waited])
    replay.engine_lost([ran, waited], lambda request: request is ran)
    assert (ran.survived, waited.survived) == (1, 0)
    assert not waited.in_engine


def test_a_suspect_that_was_cancelled_while_it_waited_is_not_tried() -> None:
    engine = Engine()
    replay = Replay(engine)
    requests = [Running(name, suspect=True) for name in "abc"]
    replay.engine_ready(requests)
    requests[1].ended = True
    replay.cleared(requests[0])
    assert engine.sent == ["a", "c"]


@given(st.data())
def test_a_request_that_kills_is_found_and_no_other_is_given_up(data: st.DataObject) -> None:
    """Each engine dies of the killer, whenever that runs, perhaps after others got their token."""
    names = [f"r{index}" for index in range(data.draw(st.integers(1, 6)))]
    requests = {name: Running(name) for name in names}
    killer = requests[data.draw(st.sampled_from(names))]
    engine = Engine()
    replay = Replay(engine)
    deaths = 0
    while not killer.ended:
        engine.sent.clear()
        running = [request for request in requests.values() if not request.ended]
        replay.engine_ready(running)
        while killer.name not in engine.sent:  # suspects before it answer
            tried = requests[engine.sent[-1]]
            tried.blamed, tried.suspect = 0, False
            replay.cleared(tried)
        replay.engine_lost(running, begun)
        deaths += 1
        killer.ended = killer.blamed >= 4
        assert deaths < 20
    assert all(request.blamed <= 2 for request in requests.values() if request is not killer)
