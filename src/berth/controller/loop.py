"""The store, the queue, the reconciler and the lease as one controller, without an event loop.

run.py calls `resync` now and then, `saw` for each watch event, and `work` whenever
`queue.next_at()` says so. All of it runs in one thread; only the API is awaited.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from berth.controller.core import Outcome, Reconciler
from berth.controller.errors import Forbidden, NotFound
from berth.controller.kinds import (
    NODE,
    NODE_CLAIM,
    POD,
    WATCHED,
    WORKSPACE,
    Key,
    Kind,
    Object,
    meta,
)
from berth.controller.ports import Api, Clock
from berth.controller.queue import WorkQueue
from berth.controller.store import Change, Store

_log = logging.getLogger(__name__)

# A change of what nodes have to give concerns every Workspace, but not at once: nodes and the
# pods of others come in swarms.
_CAPACITY_DELAY = 5.0  # seconds


class Meter(Protocol):
    """What is counted. The default counts nothing."""

    def added(self) -> None: ...

    def took(self, waited: float) -> None: ...

    def reconciled(self, outcome: Outcome | None, seconds: float) -> None:
        """None: the planner raised."""
        ...


class NoMeter:
    def added(self) -> None: ...

    def took(self, waited: float) -> None: ...

    def reconciled(self, outcome: Outcome | None, seconds: float) -> None: ...


@dataclass(slots=True)
class Controller:
    """One controller process.

    Args:
        namespaces: those that are watched; empty: all.
        claims: whether Karpenter's NodeClaims are looked for at all.
        changed_kinds: called when NodeClaims came or went, so that watches follow.
    """

    api: Api
    clock: Clock
    store: Store
    queue: WorkQueue
    reconciler: Reconciler
    namespaces: tuple[str, ...] = ()
    claims: bool = False
    leads: Callable[[], bool] = lambda: True
    meter: Meter = field(default_factory=NoMeter)
    changed_kinds: Callable[[], None] = lambda: None
    synced: bool = False
    _unlisted: list[tuple[Kind, str | None]] = field(default_factory=list)

    # What was read

    async def resync(self) -> None:
        """List every kind afresh and look at every Workspace.

        Watches lose events: this is what bounds how long a mistake can last. Raises ApiError; the
        next call then goes on with what has not been listed, so that a server which answers only
        now and then is got through in the end.
        """
        if not self._unlisted:
            await self._look_for_claims()
            kinds = (*WATCHED, NODE_CLAIM) if self.store.has_claims else WATCHED
            self._unlisted = [(kind, where) for kind in kinds for where in self._scopes(kind)]
        while self._unlisted:
            kind, namespace = self._unlisted[0]
            listing = await self.api.list(kind, namespace)
            changes = self.store.replace(kind, namespace, listing.items, listing.resource_version)
            self._follow(kind, changes)
            self._unlisted.pop(0)
        self.synced = True
        for key in self.store.workspaces():
            self._add(key)

    def saw(self, kind: Kind, event: Literal["seen", "deleted"], obj: Object) -> None:
        """Take in one watch event. The same one twice, or an old one late, changes nothing."""
        change = (
            self.store.remove(kind, obj) if event == "deleted" else self.store.upsert(kind, obj)
        )
        if change is not None:
            self._follow(kind, [change])

    def saw_config(self, config_map: Key) -> None:
        """A ConfigMap may have changed: look at the Workspaces that name it."""
        for key in self.store.configured_by(config_map):
            self._add(key)

    def is_back(self) -> None:
        """The API server answers again after an outage: nothing waits for what failed then."""
        self.queue.forgive(self.clock.monotonic())

    async def _look_for_claims(self) -> None:
        there = self.claims and await self._serves_claims()
        if there == self.store.has_claims:
            return
        self.store.has_claims = there
        if not there:
            self._follow(NODE_CLAIM, self.store.forget(NODE_CLAIM))
        self.changed_kinds()

    async def _serves_claims(self) -> bool:
        try:
            return await self.api.has(NODE_CLAIM)
        except (NotFound, Forbidden):
            return False

    def _scopes(self, kind: Kind) -> tuple[str | None, ...]:
        return self.namespaces if self.namespaces and kind.namespaced else (None,)

    def _follow(self, kind: Kind, changes: Iterable[Change]) -> None:
        capacity = False
        for change in changes:
            for key in self.store.affected(kind, change):
                self._add(key)
            capacity = capacity or _changes_capacity(kind, *change)
            before, after = change
            if kind == WORKSPACE and after is None and before is not None:
                self.reconciler.forget(Key(meta(before)["namespace"], meta(before)["name"]), before)
        if capacity:
            for key in self.store.workspaces():
                self._add(key, _CAPACITY_DELAY)

    def _add(self, key: Key, after: float = 0.0) -> None:
        self.queue.add(key, self.clock.monotonic(), after)
        self.meter.added()

    # Work

    async def work(self) -> bool:
        """One reconcile, if one is due and this controller leads. Whether there was one."""
        if not (self.synced and self.leads()):
            return False
        key = self.queue.take(self.clock.monotonic())
        if key is None:
            return False
        begun = self.clock.monotonic()
        self.meter.took(self.queue.waited(key, begun))
        outcome: Outcome | None = None
        try:
            outcome = await self.reconciler.reconcile(key)
        except Exception:
            # One Workspace that cannot be planned must not stop the others.
            _log.exception("%s cannot be planned", key)
        finally:
            now = self.clock.monotonic()
            self._done(key, outcome, now)
            self.meter.reconciled(outcome, now - begun)
        return True

    def _done(self, key: Key, outcome: Outcome | None, now: float) -> None:
        if outcome is None:
            self.queue.done(key, now, failed=True)
            return
        if outcome.error is not None and outcome.result == "failed":
            _log.info("%s: %s: %s", key, type(outcome.error).__name__, outcome.error)
        self.queue.done(
            key,
            now,
            failed=outcome.result == "failed",
            wrote=outcome.result in ("wrote", "refused"),
            again=1.0 if outcome.result == "not_leader" else outcome.again,
            at_least=outcome.at_least,
            at_most=outcome.at_most,
        )
        if outcome.result == "gone":
            self.queue.forget(key)


def _changes_capacity(kind: Kind, before: Object | None, after: Object | None) -> bool:
    """Whether a node has more or less to give than before."""
    if kind == NODE:
        return _offer(before) != _offer(after)
    if kind == POD:
        return _taken(before) != _taken(after)
    return False


def _offer(node: Object | None) -> object:
    """Of a node, what decides what may run on it. Not its heartbeats."""
    if node is None:
        return None
    spec, status = node.get("spec") or {}, node.get("status") or {}
    ready = [c["status"] for c in status.get("conditions") or () if c.get("type") == "Ready"]
    labels = meta(node).get("labels")
    leaving = "deletionTimestamp" in meta(node)
    taints, cordoned = spec.get("taints"), spec.get("unschedulable")
    return labels, taints, cordoned, status.get("allocatable"), ready, leaving


def _taken(pod: Object | None) -> object:
    """The node that a pod takes from; None: from none."""
    if pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return None
    return (pod.get("spec") or {}).get("nodeName") or None
