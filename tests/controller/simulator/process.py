"""One controller process in virtual time: its API client, its watches, its coroutines.

There is no asyncio in here. A request suspends the coroutine with the seconds that it takes; the
simulation resumes it, or kills it there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from berth.controller.core import Reconciler
from berth.controller.errors import ApiError, Forbidden, Timeout, TooManyRequests, Unavailable
from berth.controller.kinds import (
    CONFIG_MAP,
    EVENT,
    LEASE,
    NODE_CLAIM,
    WATCHED,
    Key,
    Kind,
    Object,
)
from berth.controller.leader import Elector
from berth.controller.loop import Controller
from berth.controller.ports import Listing
from berth.controller.queue import WorkQueue
from berth.controller.store import Store
from berth.workspace.actions import FIELD_OWNER
from controller.simulator.server import Change

if TYPE_CHECKING:
    from controller.simulator.simulation import Simulation

_T = TypeVar("_T")

_TIMEOUT = 15.0  # seconds until a lost request is given up
_RESYNC = 300.0
_WORKERS = 2


class Pause:
    """Awaited: so many virtual seconds pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[float, None, None]:
        yield self.seconds


class SimApi:
    """The Api of one process: every request may go wrong, and takes its time."""

    def __init__(self, sim: Simulation, process: Process) -> None:
        self._sim = sim
        self._process = process

    async def list(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Listing:
        def read() -> Listing:
            items = self._sim.server.search(kind, namespace, labels)
            return Listing(items, self._sim.server.version)

        return await self._request("list", kind, read)

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        return await self._request("get", kind, lambda: self._sim.server.get(kind, namespace, name))

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        return await self._request(
            "get", kind, lambda: self._sim.server.find(kind, namespace, name) is not None
        )

    async def has(self, kind: Kind) -> bool:
        return await self._request("has", kind, lambda: kind not in self._sim.server.missing)

    async def warnings(self, namespace: str, selector: str = "") -> Sequence[Object]:
        return await self._request(
            "list",
            EVENT,
            lambda: [
                e for e in self._sim.server.search(EVENT, namespace) if e["type"] == "Warning"
            ],
        )

    async def apply(self, kind: Kind, obj: Object) -> Object:
        return await self._write(
            "apply", kind, obj, lambda: self._sim.server.apply(kind, obj, FIELD_OWNER)
        )

    async def create(self, kind: Kind, obj: Object) -> Object:
        return await self._write(
            "create", kind, obj, lambda: self._sim.server.create(kind, obj, FIELD_OWNER)
        )

    async def replace(self, kind: Kind, obj: Object) -> Object:
        return await self._write(
            "replace", kind, obj, lambda: self._sim.server.replace(kind, obj, FIELD_OWNER)
        )

    async def replace_status(self, kind: Kind, obj: Object) -> Object:
        return await self._write(
            "status", kind, obj, lambda: self._sim.server.replace_status(kind, obj)
        )

    async def merge(
        self, kind: Kind, namespace: str | None, name: str, patch: Mapping[str, Any]
    ) -> Object:
        return await self._write(
            "merge",
            kind,
            {"metadata": {"name": name, "namespace": namespace}},
            lambda: self._sim.server.merge(kind, namespace, name, patch, FIELD_OWNER),
        )

    async def delete(self, kind: Kind, namespace: str | None, name: str, uid: str) -> Object | None:
        return await self._write(
            "delete",
            kind,
            {"metadata": {"name": name, "namespace": namespace, "uid": uid}},
            lambda: self._sim.server.delete(kind, namespace, name, uid),
        )

    async def _write(self, verb: str, kind: Kind, obj: Object, act: Callable[[], _T]) -> _T:
        if kind != LEASE:
            self._sim.checks.issued(self._process, verb, kind)

        def write() -> _T:
            before = self._sim.server.version
            answer = act()
            if kind != LEASE:
                changed = self._sim.server.version != before
                self._sim.checks.accepted(verb, kind)
                if changed:
                    self._sim.checks.wrote(self._process, verb, kind, obj, answer)
            return answer

        try:
            return await self._request(verb, kind, write, write=True)
        except Forbidden:
            self._sim.checks.refused(obj)
            raise

    async def _request(
        self, verb: str, kind: Kind, act: Callable[[], _T], *, write: bool = False
    ) -> _T:
        sim, process = self._sim, self._process
        assert process.alive, "a killed process sends nothing"
        sim.checks.asked(verb, kind)
        await Pause(sim.dice.latency())
        fault = sim.dice.request(sim.now, write=write)
        if kind == LEASE and sim.dice.isolated(process.number, sim.now):
            fault = "lost"
        match fault:
            case "unavailable":
                raise Unavailable("the API server answers 503")
            case "throttled":
                raise TooManyRequests("slow down", retry_after=2.0)
            case "refused":
                raise Forbidden("an admission webhook says no") if write else Timeout("no answer")
            case "lost":
                await Pause(_TIMEOUT)
                raise Timeout("no answer")
        try:
            answer = act()
        except ApiError as error:
            sim.dice.met[type(error).__name__] += 1
            raise
        await Pause(sim.dice.latency())
        if fault == "done_but_lost":
            await Pause(_TIMEOUT)
            raise Timeout("no answer")
        return answer


@dataclass(slots=True)
class _Clock:
    sim: Simulation

    def now(self) -> datetime:
        return self.sim.wall()

    def monotonic(self) -> float:
        return self.sim.now


class Process:
    """A controller from its start to its death."""

    def __init__(self, sim: Simulation, number: int, life: int) -> None:
        self.sim = sim
        self.number = number
        self.alive = True
        self.api = SimApi(sim, self)
        clock = _Clock(sim)
        store = Store()
        scenario = sim.scenario
        self.elector = Elector(
            self.api, clock, namespace="berth", name="berth", identity=f"c{number}-{life}"
        )
        leads = self.elector.leads if scenario.controllers > 1 else lambda: True
        reconciler = scenario.reconciler(
            api=self.api,
            clock=clock,
            store=store,
            plan=scenario.plan,
            settings=sim.settings,
            presets=scenario.presets,
            may_write=leads,
        )
        assert isinstance(reconciler, Reconciler)
        self.controller = Controller(
            api=self.api,
            clock=clock,
            store=store,
            queue=WorkQueue(random=random.Random(life)),
            reconciler=reconciler,
            claims=True,
            leads=leads,
        )
        self._workers = 0
        self._open: set[Coroutine[float, None, Any]] = set()
        self._wake: float | None = None
        self._deaf: dict[Kind, float] = {}  # until when a watch is broken
        self._last: dict[Kind, float] = {}  # when the last event was delivered

    def start(self) -> None:
        self._resync()
        if self.sim.scenario.controllers > 1:
            self._elect()

    def kill(self) -> None:
        self.alive = False
        for coroutine in list(self._open):
            coroutine.close()
        self._open.clear()

    # Watches

    def changed(self, change: Change) -> None:
        """The server has news; it arrives later, or twice, or not at all."""
        sim, kind = self.sim, change.kind
        if kind not in (*WATCHED, NODE_CLAIM, CONFIG_MAP):
            return
        if sim.now < self._deaf.get(kind, 0.0):
            return
        broken = sim.dice.expires(sim.now)
        if broken:
            self._deaf[kind] = sim.now + broken
            sim.at(sim.now + broken, self._relist, kind)
            return
        for delay in sim.dice.event(sim.now):
            at = sim.now + delay
            if delay <= sim.dice.faults.slow_watch:  # not reordered: after what came before
                at = max(at, self._last.get(kind, 0.0))
                self._last[kind] = at
            sim.at(at, self._deliver, change)

    def _deliver(self, change: Change) -> None:
        if self.alive and change.kind == CONFIG_MAP:
            m = change.object["metadata"]
            self.controller.saw_config(Key(m["namespace"], m["name"]))
            self.pump()
            return
        if self.alive and (change.kind != NODE_CLAIM or self.controller.store.has_claims):
            self.controller.saw(change.kind, change.type, change.object)
            self.pump()

    def _relist(self, kind: Kind) -> None:
        """As kopf does after 410: everything that is there, nothing of what is gone."""
        for obj in self.sim.server.objects[kind].copy().values():
            self._deliver(Change(self.sim.server.version, kind, "seen", obj))

    # Coroutines

    def pump(self) -> None:
        """Start a worker as soon as one is needed."""
        if not self.alive or self._workers >= _WORKERS or not self.controller.synced:
            return
        due = self.controller.queue.next_at()
        if due is None:
            return
        due = max(due, self.sim.now)
        if self._wake is None or due < self._wake:
            self._wake = due
            self.sim.at(due, self._woken, due)

    def _woken(self, due: float) -> None:
        if self._wake == due:
            self._wake = None
            if self.alive:
                self._workers += 1
                self._run(self._work())

    async def _work(self) -> None:
        try:
            if not await self.controller.work():
                await Pause(1.0)  # not the leader, or another worker was faster
        finally:
            self._workers -= 1

    def _resync(self) -> None:
        if self.alive:
            self._run(self._resynced())

    async def _resynced(self) -> None:
        wait = _RESYNC
        try:
            await self.controller.resync()
        except ApiError:
            wait = 3.0
        self.sim.at(self.sim.now + wait, self._resync)

    def _elect(self) -> None:
        if self.alive:
            self._run(self._elected())

    async def _elected(self) -> None:
        try:
            await self.elector.look()
        except ApiError:
            pass  # the lease runs out by itself
        self.sim.at(self.sim.now + self.elector.term.retry, self._elect)

    def _run(self, coroutine: Coroutine[float, None, Any]) -> None:
        self._open.add(coroutine)
        self._step(coroutine)

    def _step(self, coroutine: Coroutine[float, None, Any]) -> None:
        """Resume a coroutine until its next await; there the process may be killed."""
        if not self.alive:
            return
        thaw = self.sim.dice.thaws_at(self.number, self.sim.now)
        if thaw > self.sim.now:
            self.sim.at(thaw, self._step, coroutine)
            return
        try:
            seconds = coroutine.send(None)
        except StopIteration:
            self._open.discard(coroutine)
            self.pump()
            return
        if self.sim.dice.crashes(self.sim.now):
            self.sim.crashed(self)
            return
        self.sim.at(self.sim.now + seconds, self._step, coroutine)
        self.pump()
