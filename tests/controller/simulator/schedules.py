"""Schedules: faults drawn from a seed, crashes at every await; the end must be the same."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from controller.simulator.faults import Faults
from controller.simulator.simulation import Scenario, Simulation


@cache
def undisturbed(scenario: Scenario) -> tuple[dict[str, Any], int]:
    """What is there at the end when nothing goes wrong, and how many awaits that took."""
    sim = Simulation(scenario, seed=0)
    state = sim.run()
    return state, sim.awaits_until_settled


def disturbed(scenario: Scenario, seed: int, faults: Faults) -> None:
    """Raises AssertionError where the end is another, or a promise was broken on the way."""
    wanted, _ = undisturbed(scenario)
    sim = Simulation(scenario, seed, faults)
    found = sim.run()
    if found != wanted:
        told = "\n".join(sim.checks.story[-60:])
        raise AssertionError(f"{scenario.name}, seed {seed}: {_difference(wanted, found)}\n{told}")


def drawn(seed: int, controllers: int = 1) -> Faults:
    """Faults of one schedule: a few kinds together, each in some strength."""
    dice = random.Random(f"faults {seed}")

    def some(most: float, chance: float = 0.5) -> float:
        return dice.uniform(0, most) if dice.random() < chance else 0.0

    def window(longest: float) -> tuple[float, float]:
        begin = dice.uniform(0, 120)
        return begin, begin + dice.uniform(5, longest)

    outages = (window(60),) if dice.random() < 0.2 else ()
    if dice.random() < 0.02:
        outages = ((30.0, 630.0),)  # ten minutes
    pair = controllers > 1
    return Faults(
        request=some(0.3),
        drop=some(0.3),
        repeat=some(0.3),
        reorder=some(0.4),
        expire=some(0.1),
        slow_watch=dice.choice((0.1, 0.1, 2.0, 10.0)),
        crash=some(0.05),
        outages=outages,
        isolated=((0, *window(60)), (1, *window(60))) if pair else (),
        frozen=((dice.randrange(2), *window(40)),) if pair else (),
        since=dice.choice((0.0, dice.uniform(0, 60))),
        until=dice.uniform(60, 200),
    )


def _difference(wanted: Any, found: Any, path: str = "") -> str:
    """The first place where two states differ."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys(), key=str):
            if wanted.get(key) != found.get(key):
                return _difference(wanted.get(key), found.get(key), f"{path}/{key}")
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            if one != other:
                return _difference(one, other, f"{path}[{index}]")
    return f"{path or 'the end'} should be {wanted!r} and is {found!r}"
