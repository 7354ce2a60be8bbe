"""The lease: one at a time writes, and one that lost it stops by itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from berth.controller.errors import Timeout
from berth.controller.kinds import LEASE, Kind, Object
from berth.controller.leader import Elector, Term
from controller.simulator.server import Server

BEGIN = datetime(2026, 11, 21, tzinfo=UTC)


class World:
    """A clock that is turned by hand, and an API server."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.server = Server(self.now)

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def elector(self, identity: str) -> tuple[Elector, Line]:
        line = Line(self.server)
        elector: Any = Elector(
            line,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            namespace="b",
            name="l",
            identity=identity,
            term=Term(duration=15.0, renew=10.0, retry=2.0),
        )
        return elector, line

    def lease(self) -> dict[str, Any]:
        found: dict[str, Any] = self.server.get(LEASE, "b", "l")["spec"]
        return found


class Line:
    """One controller's way to the server; `down` cuts it, `deaf` loses the answers."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.down = self.deaf = False

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        self._check()
        return self.server.get(kind, namespace, name)

    async def create(self, kind: Kind, obj: Object) -> Object:
        self._check()
        return self._answer(self.server.create(kind, obj))

    async def replace(self, kind: Kind, obj: Object) -> Object:
        self._check()
        return self._answer(self.server.replace(kind, obj))

    def _check(self) -> None:
        if self.down:
            raise Timeout("no answer")

    def _answer(self, obj: Object) -> Object:
        if self.deaf:
            raise Timeout("no answer")
        return obj


@pytest.fixture
def world() -> World:
    return World()


def look(elector: Elector) -> None:
    asyncio.run(elector.look())


def test_the_first_takes_it_and_the_second_waits(world: World) -> None:
    (one, _), (two, _) = world.elector("one"), world.elector("two")
    look(one)
    look(two)
    assert (one.leads(), two.leads()) == (True, False)
    assert world.lease()["holderIdentity"] == "one"
    assert world.lease()["leaseDurationSeconds"] == 15


def test_it_is_taken_over_only_after_its_whole_duration_without_news(world: World) -> None:
    (one, _), (two, _) = world.elector("one"), world.elector("two")
    look(one)
    look(two)
    world.seconds += 14.9
    look(two)
    assert not two.leads()
    world.seconds += 0.2
    look(two)
    assert two.leads()
    assert world.lease()["leaseTransitions"] == 2


def test_the_holder_stops_before_another_may_begin(world: World) -> None:
    (one, line), (two, _) = world.elector("one"), world.elector("two")
    look(one)
    look(two)
    line.down = True
    for _ in range(40):
        world.seconds += 0.5
        look(two)
        assert not (one.leads() and two.leads())
    assert two.leads()


def test_renewing_keeps_it(world: World) -> None:
    (one, _), (two, _) = world.elector("one"), world.elector("two")
    for _ in range(30):
        look(one)
        look(two)
        assert one.leads()
        world.seconds += 2
    assert world.lease()["leaseTransitions"] == 1


def test_a_renewal_counts_from_when_it_was_begun(world: World) -> None:
    """The answer may have been long on its way."""
    one, line = world.elector("one")
    look(one)
    first = line.get

    async def slow(kind: Kind, namespace: str | None, name: str) -> Object:
        world.seconds += 9
        return await first(kind, namespace, name)

    line.get = slow  # type: ignore[method-assign]
    look(one)
    world.seconds += 0.9
    assert one.leads()
    world.seconds += 0.2
    assert not one.leads()


def test_one_that_slept_does_not_believe_that_it_still_leads(world: World) -> None:
    one, _ = world.elector("one")
    look(one)
    world.seconds += 3600
    assert not one.leads()


def test_a_lost_answer_gains_nothing(world: World) -> None:
    one, line = world.elector("one")
    line.deaf = True
    with pytest.raises(Timeout):
        look(one)
    assert not one.leads()
    line.deaf = False
    look(one)
    assert not one.leads(), "it may be a namesake's: wait"
    world.seconds += 15.1
    look(one)
    assert one.leads()


def test_releasing_lets_another_in_at_once(world: World) -> None:
    (one, _), (two, _) = world.elector("one"), world.elector("two")
    look(one)
    look(two)
    asyncio.run(one.release())
    assert not one.leads()
    look(two)
    assert two.leads()


def test_releasing_does_not_take_it_from_another(world: World) -> None:
    (one, line), (two, _) = world.elector("one"), world.elector("two")
    look(one)
    line.down = True
    look(two)
    world.seconds += 15.1
    look(two)
    line.down = False
    asyncio.run(one.release())
    assert world.lease()["holderIdentity"] == "two"


def test_the_clocks_of_two_machines_need_not_agree(world: World) -> None:
    """Only the change of renewTime counts, never what it says."""
    one, _ = world.elector("one")
    look(one)
    world.server.merge(LEASE, "b", "l", {"spec": {"renewTime": "1999-01-01T00:00:00.000000Z"}})
    two, _ = world.elector("two")
    look(two)
    assert not two.leads()


@pytest.mark.parametrize(
    "wrong", [{"duration": 5.0}, {"renew": 1.0}, {"retry": 0.0}, {"renew": 20.0}]
)
def test_times_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="lease: retry, renew and duration"):
        Term(**wrong)


def test_by_default_another_leads_within_ten_seconds_of_a_loss() -> None:
    """The holder stops by itself before that, with time for a slow answer in between."""
    term = Term()
    assert term.duration + term.retry < 10
    assert term.duration - term.renew >= 3
    assert term.renew > 3 * term.retry, "one renewal may fail"
