"""The model-checked controller: thousands of stories with faults, and each ends as without them.

In every one of them hold, all the time: no object is made twice, nobody else's is touched, no
condition says that the model answers when it does not, observedGeneration never goes back, nothing
is written without the lease, and no loop is hot. At the end nothing is left behind; and a restart
that finds nothing changed writes nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from controller.simulator.faults import Faults
from controller.simulator.scenarios import BY_NAME, PAIRS, SCENARIOS
from controller.simulator.schedules import disturbed, drawn, undisturbed
from controller.simulator.simulation import Scenario, Simulation

_SEEDS = 20  # of every scenario; together with the crashes more than two thousand schedules
# From these, a controller is killed at each await in turn.
_CRASHED = (
    "own gpu node",
    "provisioned",
    "does not fit",
    "changed twice quickly",
    "deleted and made again",
    "deleted while the node is launched",
    "claim deleted by hand",
    "service edited by hand",
    "two nodes together, changed",
    "namespace deleted",
    "no capacity for a while",
    "config goes bad and is mended",
    "three pods and one again",
)
# From these at each fifteenth, for they are long.
_CRASHED_NOW_AND_THEN = (
    "a value of the chart changes for three",
    "a Secret of the chart comes late",
    "changed, with room beside",
    "changed twice quickly, with room beside",
    "a value of the chart changes, with room beside",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of refusals are logged otherwise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("scenario", [*SCENARIOS, *PAIRS], ids=lambda one: one.name)
def test_ends_the_same_whatever_goes_wrong(scenario: Scenario) -> None:
    for seed in range(_SEEDS):
        disturbed(scenario, seed, drawn(seed, scenario.controllers))


@pytest.mark.parametrize("name", _CRASHED)
def test_ends_the_same_when_killed_at_any_await(name: str) -> None:
    scenario = BY_NAME[name]
    _, awaits = undisturbed(scenario)
    for number in range(1, awaits + 1):
        disturbed(scenario, number, Faults(crash_at=frozenset((number,))))


@pytest.mark.parametrize("name", _CRASHED_NOW_AND_THEN)
def test_ends_the_same_when_killed_now_and_then(name: str) -> None:
    scenario = BY_NAME[name]
    _, awaits = undisturbed(scenario)
    for number in range(1, awaits + 1, 15):
        disturbed(scenario, number, Faults(crash_at=frozenset((number,))))


def test_there_are_two_thousand_schedules() -> None:
    crashes = sum(undisturbed(BY_NAME[name])[1] for name in _CRASHED)
    assert (len(SCENARIOS) + len(PAIRS)) * _SEEDS + crashes >= 2000


def test_the_same_seed_is_the_same_story() -> None:
    def story() -> list[str]:
        sim = Simulation(BY_NAME["provisioned"], 7, drawn(7))
        sim.run()
        return sim.checks.story

    assert story() == story()


def test_every_fault_is_met() -> None:
    """Schedules in which nothing goes wrong would prove nothing."""
    met: Counter[str] = Counter()
    for scenario in (BY_NAME["changed twice quickly"], BY_NAME["namespace deleted"], PAIRS[1]):
        for seed in range(28):
            sim = Simulation(scenario, seed, drawn(seed, scenario.controllers))
            sim.run()
            met += sim.dice.met
    faults = {"outage", "refused", "lost", "done_but_lost", "throttled", "unavailable", "crash"}
    faults |= {"drop", "repeat", "reorder", "expire", "isolated", "frozen"}
    answers = {"Conflict", "NotFound", "AlreadyExists", "NamespaceGoing"}
    assert {name for name in faults | answers if met[name] == 0} == set()
