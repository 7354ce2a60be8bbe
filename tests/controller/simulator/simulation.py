"""A whole cluster and its controllers in virtual time, from one seed: the same every time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from berth.cluster.fields import text
from berth.controller.core import Plan, Reconciler
from berth.controller.kinds import CONFIG_MAP, Kind, Object
from berth.presets.catalogue import Preset
from berth.workspace.observed import Settings
from controller.simulator.checks import Checks
from controller.simulator.cluster import Cluster
from controller.simulator.faults import Dice, Faults
from controller.simulator.karpenter import Launch
from controller.simulator.kubelet import Fate
from controller.simulator.process import Process
from controller.simulator.server import Change, Server

_EPOCH = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
_RESTART = 2.0  # seconds until a killed controller is back
_STEPS = 200_000  # of one simulation: more is a hot loop

Step = Callable[["Simulation"], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenario:
    """What happens in the cluster, without any fault.

    Args:
        begin: makes what is there before the controller starts.
        steps: what users and machines do, and at which second.
        fate, launch: what becomes of pods and NodeClaims, by the time.
        settle: virtual seconds after the last step or fault until nothing may change any more.
    """

    name: str
    begin: Step
    plan: Plan
    presets: Mapping[str, Preset]
    settings: Settings
    steps: tuple[tuple[float, Step], ...] = ()
    fate: Callable[[Object, float], Fate] = lambda pod, now: "ready"
    launch: Callable[[Object, float], Launch] = lambda claim, now: "ready"
    machines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: frozenset[Kind] = frozenset()
    controllers: int = 1
    settle: float = 1000.0
    gapless: bool = False  # no Workspace that has answered may ever stop to
    reconciler: type[Reconciler] = Reconciler


class Simulation:
    """Runs one scenario under one set of faults."""

    def __init__(self, scenario: Scenario, seed: int, faults: Faults | None = None) -> None:
        self.scenario = scenario
        self.settings = scenario.settings
        self.now = 0.0
        self.dice = Dice(faults or Faults(), random.Random(seed))
        self.server = Server(self.wall, set(scenario.missing))
        self.server.on_change = self._changed
        self.cluster = Cluster(
            self.server,
            lambda: self.now,
            fate=lambda pod: scenario.fate(pod, self.now),
            launch=lambda claim: scenario.launch(claim, self.now),
            machines=scenario.machines,
        )
        self.checks = Checks(self)
        self.processes: list[Process] = []
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._cluster_at: float | None = None
        self._lives = 0
        self.awaits_until_settled = 0

    def wall(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.now)

    def at(self, when: float, act: Callable[..., None], *arguments: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, act, arguments))

    def run(self) -> dict[str, Any]:
        """To the end. Returns what is then there, without what differs between two runs.

        Raises AssertionError where a promise is broken.
        """
        try:
            return self._run()
        finally:
            for process in self.processes:
                process.kill()

    def _run(self) -> dict[str, Any]:
        self.scenario.begin(self)
        self.processes = [self._process(n) for n in range(self.scenario.controllers)]
        last = 0.0
        for when, step in self.scenario.steps:
            self.at(when, step, self)
            last = max(last, when)
        quiet_from = max(last, self._faults_end()) + self.scenario.settle
        self.run_until(quiet_from)
        self.checks.settled()
        self.awaits_until_settled = self.checks.awaits_at_last_write
        self._restart_all()
        self.run_until(quiet_from + 60)
        self.checks.quiet()
        return self.checks.final_state()

    def run_until(self, end: float) -> None:
        steps = 0
        self._wake_cluster()
        while self._heap and self._heap[0][0] <= end:
            when, _, act, arguments = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            act(*arguments)
            if self.checks.broken is not None:
                raise self.checks.broken
            self._wake_cluster()
            steps += 1
            assert steps < _STEPS, "a hot loop"
        self.now = end

    def crashed(self, process: Process) -> None:
        """Killed at an await: everything that it knew is lost."""
        process.kill()
        place = self.processes.index(process)
        self.at(self.now + _RESTART, self._start_again, place)

    def upgrade(self, settings: Settings) -> None:
        """As `helm upgrade` with another value: the controllers are started anew with it."""
        self.settings = settings
        self.checks.upgraded()
        for process in self.processes:
            self.crashed(process)

    def config_map(self, workspace: Object) -> Object | None:
        """The ConfigMap that a Workspace names."""
        name = text(workspace, "inference", "config")
        where = workspace["metadata"]["namespace"]
        return self.server.find(CONFIG_MAP, where, name) if name else None

    # Inside

    def _start_again(self, place: int) -> None:
        self.processes[place] = self._process(place)

    def _process(self, number: int) -> Process:
        self._lives += 1
        process = Process(self, number, self._lives)
        self.at(self.now, process.start)
        return process

    def _restart_all(self) -> None:
        """All memory is lost once more; nothing may follow from it."""
        self.checks.nothing_may_change()
        for place, process in enumerate(self.processes):
            process.kill()
            self.processes[place] = self._process(place)

    def _changed(self, change: Change) -> None:
        self.cluster.saw(change)
        self.checks.changed(change)
        for process in self.processes:
            if process.alive:
                process.changed(change)

    def _wake_cluster(self) -> None:
        if self.cluster.dirty:
            self.cluster.step()
        due = self.cluster.next_at()
        if due is not None and (self._cluster_at is None or due < self._cluster_at):
            self._cluster_at = due
            self.at(due, self._cluster_due, due)

    def _cluster_due(self, due: float) -> None:
        if self._cluster_at == due:
            self._cluster_at = None
        self.cluster.step()

    def _faults_end(self) -> float:
        faults = self.dice.faults
        ends = [end for _, end in faults.outages]
        ends += [end for _, _, end in (*faults.isolated, *faults.frozen)]
        random_faults = faults.request + faults.drop + faults.reorder + faults.expire + faults.crash
        return max([*ends, faults.until if random_faults else 0.0])
