"""One reconcile of one Workspace: observe, plan, carry out, and say when to look again.

It holds nothing between two reconciles that it could not lose: it may be killed at any await, and
the next controller goes on from what it reads. It knows no event loop and no kubernetes client.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from berth.controller.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from berth.controller.kinds import (
    NEEDED,
    NODE_CLAIM,
    WORKSPACE,
    Key,
    Kind,
    Object,
    kind_of,
    meta,
    tag_of,
    uid,
)
from berth.controller.observe import config_map_of, observed_of, warnings_of
from berth.controller.ports import Api, Clock
from berth.controller.recorder import Recorder
from berth.controller.store import Store
from berth.controller.turns import restarting
from berth.presets.catalogue import Preset
from berth.workspace.actions import (
    Action,
    Apply,
    Delete,
    Emit,
    LookAgain,
    LookFor,
    SetFinalizer,
    WriteStatus,
)
from berth.workspace.names import FINALIZER, NAMESPACE_LABEL, WORKSPACE_LABEL
from berth.workspace.needs import Need
from berth.workspace.observed import Observed, Rejected, Settings

_log = logging.getLogger(__name__)

Plan = Callable[[Observed, datetime], tuple[Action, ...]]
Result = Literal["settled", "wrote", "refused", "failed", "gone", "not_leader"]

_REFUSED_AGAIN = 300.0  # seconds until a write that was refused is tried again
_MOOT_AGAIN = 30.0  # seconds until conditions no longer speak of a write that is not wanted now


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a reconcile ended.

    settled: nothing had to be written. wrote: something was, so that it is looked at again.
    refused: a write will be refused again. failed: try again, after `at_least` seconds.
    """

    result: Result
    again: float | None = None  # seconds
    at_least: float = 0.0
    at_most: float | None = None  # seconds until a failure is tried again; None: ever later
    error: ApiError | None = None


@dataclass(slots=True)
class _Run:
    """What one reconcile has done so far."""

    key: Key
    workspace: Object
    planned: str  # resourceVersion of the Workspace that was planned for
    resource_version: str  # the same after our own writes
    writes: int = 0
    again: list[float] = field(default_factory=list)
    stale: bool = False  # the plan was made without something that is there
    refused: ApiError | None = None
    refusals: set[tuple[str, str]] = field(default_factory=set)  # kind and name
    news: bool = False  # a refusal that the planner has not been given


class NotLeader(Exception):
    """The lease was lost in the middle of a reconcile."""


@dataclass(slots=True)
class Reconciler:
    """Carries out plans.

    Args:
        may_write: whether the lease is still held; asked before every write.
    """

    api: Api
    clock: Clock
    store: Store
    plan: Plan
    settings: Settings
    presets: Mapping[str, Preset]
    may_write: Callable[[], bool] = lambda: True
    recorder: Recorder = field(init=False)
    _rejected: dict[Key, dict[tuple[str, str], str]] = field(default_factory=dict)
    _turns: set[Key] = field(default_factory=set)  # restarts that the store may not show yet

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.api, self.clock)

    async def reconcile(self, key: Key) -> Outcome:
        """Never raises for what an API server may answer. What the planner raises goes through."""
        workspace = self.store.get(WORKSPACE, *key)
        if workspace is None:
            return Outcome(result="gone")
        version = str(meta(workspace).get("resourceVersion", ""))
        run = _Run(key, workspace, version, version)
        try:
            for action in await self._plan(key, workspace):
                if run.news and not isinstance(action, Apply | Delete | LookAgain):
                    continue  # what it says was planned without the refusal: see the next plan
                error = await self._try(run, action)
                if error is not None and await self._stops(run, action, error):
                    return _failed(error)
                if run.stale:
                    return Outcome(result="wrote", again=0.0)
        except NotLeader:
            return Outcome(result="not_leader")
        except ApiError as error:
            return _failed(error)
        return self._ended(run)

    async def _plan(self, key: Key, workspace: Object) -> tuple[Action, ...]:
        observed = await self._observe(key, workspace)
        actions = self._planned(key, observed)
        if actions and isinstance(actions[0], LookFor):
            absent = await self._absent(key, actions[0].needs)
            actions = self._planned(key, replace(observed, absent=absent))
        return actions

    def _planned(self, key: Key, observed: Observed) -> tuple[Action, ...]:
        """Without an await: that two Workspaces take the same turn is seen here."""
        now = self.clock.now()
        self._turns.discard(key)
        others = {*restarting(self.store, key, now), *map(str, self._turns)}
        actions = self.plan(replace(observed, restarting=tuple(sorted(others))), now)
        if any(isinstance(one, Apply | Delete) and one.takes_turn for one in actions):
            self._turns.add(key)  # until it is looked at again, and the store tells of it
        return actions

    async def _absent(self, key: Key, needs: Sequence[Need]) -> tuple[Need, ...]:
        """Those that are not there. What may not be asked for is taken to be there."""
        found: list[Need] = []
        for need in needs:
            try:
                there = await self.api.exists(NEEDED[need.kind], key.namespace, need.name)
            except Forbidden as error:
                _log.warning("%s: %s cannot be looked for: %s", key, need, error)
                continue
            if not there:
                found.append(need)
        return tuple(found)

    def forget(self, key: Key, workspace: Object) -> None:
        """A Workspace that is gone."""
        self._rejected.pop(key, None)
        self._turns.discard(key)
        self.recorder.forget(uid(workspace))

    async def _observe(self, key: Key, workspace: Object) -> Observed:
        rejected = tuple(
            Rejected(kind=kind, name=name, message=message)
            for (kind, name), message in self._rejected.get(key, {}).items()
        )
        observed = observed_of(
            self.store, key, workspace, settings=self.settings, presets=self.presets
        )
        return replace(
            observed,
            config_map=await config_map_of(self.api, key, workspace),
            events=await warnings_of(self.api, self.store, key, observed),
            rejected=rejected,
        )

    # Carry out

    async def _try(self, run: _Run, action: Action) -> ApiError | None:
        try:
            await self._do(run, action)
        except ApiError as error:
            return error
        target = _target(run, action)
        if target is not None:
            self._rejected.get(run.key, {}).pop(target, None)
        return None

    async def _do(self, run: _Run, action: Action) -> None:
        match action:
            case LookAgain():
                run.again.append(action.seconds)
            case LookFor():
                raise TypeError("a plan asks for objects that were already looked for")
            case Apply():
                await self._apply(run, action)
            case Delete():
                await self._delete(run, action)
            case WriteStatus():
                await self._write_status(run, action)
            case SetFinalizer():
                await self._set_finalizer(run, action)
            case Emit():
                self._ask()
                await self.recorder.emit(run.workspace, action)

    def _ask(self) -> None:
        if not self.may_write():
            raise NotLeader

    async def _apply(self, run: _Run, action: Apply) -> None:
        wanted = action.object
        kind = kind_of(wanted["apiVersion"], wanted["kind"])
        m = meta(wanted)
        if action.uid is not None:
            # Made again by another hand since it was read: refused, not adopted.
            wanted = {**wanted, "metadata": {**m, "uid": action.uid}}
        elif await self._has_more(run, kind, m.get("namespace"), m["name"]):
            run.stale = True
            return
        self._ask()
        answer = await self.api.apply(kind, wanted)
        run.writes += 1
        self.store.upsert(kind, answer)

    async def _has_more(self, run: _Run, kind: Kind, namespace: str | None, name: str) -> bool:
        """Before something is made: whether there is more than the plan was made with.

        Of NodeClaims all are asked for, not the one name: each of them is a machine to be paid.
        """
        if kind != NODE_CLAIM:
            return await self._is_there(kind, namespace, name)
        known = {uid(claim) for claim in self.store.of(NODE_CLAIM, run.key)}
        return any(uid(claim) not in known for claim in await self._list_claims(run))

    async def _is_there(self, kind: Kind, namespace: str | None, name: str) -> bool:
        """Whether the API server knows something that the plan was made without."""
        try:
            self.store.upsert(kind, await self.api.get(kind, namespace, name))
        except NotFound:
            return False
        return True

    async def _delete(self, run: _Run, action: Delete) -> None:
        kind = kind_of(action.api_version, action.kind)
        self._ask()
        try:
            left = await self.api.delete(kind, action.namespace, action.name, action.uid)
        except NotFound:
            left = None
        run.writes += 1
        there = self.store.get(kind, action.namespace, action.name)
        if left is not None:
            self.store.upsert(kind, left)
        elif there is not None and uid(there) == action.uid:
            self.store.remove(kind, there)

    async def _write_status(self, run: _Run, action: WriteStatus) -> None:
        self._ask()
        version = _version(run, action.resource_version)
        metadata = {**meta(run.workspace), "resourceVersion": version}
        body = {**run.workspace, "metadata": metadata, "status": action.status}
        before = run.workspace.get("status")
        self._took_in(run, await self.api.replace_status(WORKSPACE, body))
        for line in transitions(before, action.status):
            _log.info("%s: %s", run.key, line)

    async def _set_finalizer(self, run: _Run, action: SetFinalizer) -> None:
        if not action.present and self.store.has_claims and await self._list_claims(run):
            run.stale = True  # a claim that is left behind would be paid for
            return
        m = meta(run.workspace)
        others = [name for name in m.get("finalizers") or () if name != FINALIZER]
        patch = {
            "metadata": {
                "resourceVersion": _version(run, action.resource_version),
                "finalizers": [*others, FINALIZER] if action.present else others,
            }
        }
        self._ask()
        answer = await self.api.merge(WORKSPACE, m["namespace"], m["name"], patch)
        self._took_in(run, answer)

    async def _list_claims(self, run: _Run) -> Sequence[Object]:
        """The Workspace's NodeClaims, asked of the API server itself."""
        tag = tag_of(run.key)
        labels = {WORKSPACE_LABEL: tag.name, NAMESPACE_LABEL: tag.namespace}
        listing = await self.api.list(NODE_CLAIM, labels=labels)
        for claim in listing.items:
            self.store.upsert(NODE_CLAIM, claim)
        return listing.items

    def _took_in(self, run: _Run, answer: Object) -> None:
        run.writes += 1
        run.workspace = answer
        run.resource_version = str(meta(answer).get("resourceVersion", ""))
        if meta(answer).get("deletionTimestamp") and not meta(answer).get("finalizers"):
            self.store.remove(WORKSPACE, answer)
        else:
            self.store.upsert(WORKSPACE, answer)

    # What an API server may answer

    async def _stops(self, run: _Run, action: Action, error: ApiError) -> bool:
        """An action failed. Whether the rest of the plan has to wait for another one.

        It has to wait if the server cannot be used, if what was read is old, or if the status
        could not be written, so that no event reports it. What is refused for good (a field of
        another owner, a quota, a policy) is remembered for the next plan, which says so in a
        condition; the other objects are not held up by it.
        """
        if isinstance(error, Conflict | AlreadyExists | NotFound):
            await self._read_again(run, action)
        if error.over or isinstance(error, Conflict | AlreadyExists):
            return True
        _log.warning("%s of %s is refused: %s", type(action).__name__, run.key, error)
        run.refused = error
        target = _target(run, action)
        if target is not None:
            known = self._rejected.setdefault(run.key, {})
            run.news = run.news or known.get(target) != str(error)
            known[target] = str(error)
            run.refusals.add(target)
        return isinstance(action, WriteStatus | SetFinalizer)

    def _ended(self, run: _Run) -> Outcome:
        """A plan went through to its end."""
        known = self._rejected.get(run.key, {})
        moot = known.keys() - run.refusals  # refused once, and not wanted any more
        for target in moot:
            del known[target]
        if moot:
            run.again.append(_MOOT_AGAIN)
        if run.writes or run.news:
            run.again.append(0.0)
        elif run.refused is not None:
            run.again.append(_REFUSED_AGAIN)
        again = min(run.again, default=None)
        if run.refused is not None:
            return Outcome(result="refused", again=again, error=run.refused)
        return Outcome(result="wrote" if run.writes else "settled", again=again)

    async def _read_again(self, run: _Run, action: Action) -> None:
        """What the store had is old, and the watch may have lost the news of it."""
        await self._refresh(WORKSPACE, *run.key)
        if isinstance(action, Apply):
            wanted = meta(action.object)
            kind = kind_of(action.object["apiVersion"], action.object["kind"])
            await self._refresh(kind, wanted.get("namespace"), wanted["name"])
        elif isinstance(action, Delete):
            kind = kind_of(action.api_version, action.kind)
            await self._refresh(kind, action.namespace, action.name)

    async def _refresh(self, kind: Kind, namespace: str | None, name: str) -> None:
        there = self.store.get(kind, namespace, name)
        if not await self._is_there(kind, namespace, name) and there is not None:
            self.store.remove(kind, there)


def _failed(error: ApiError) -> Outcome:
    return Outcome(
        result="failed",
        at_least=error.retry_after or 0.0,
        at_most=error.again_within,
        error=error,
    )


def transitions(before: object, after: Mapping[str, Any]) -> list[str]:
    """What is new in a status, for the log: "WorkspaceReady is True (WorkspaceServes)".

    Without the messages: they may repeat lines of a pod's log.
    """
    told = before.get("conditions") if isinstance(before, Mapping) else None
    known = {
        one.get("type"): (one.get("status"), one.get("reason"))
        for one in (told if isinstance(told, list) else ())
        if isinstance(one, Mapping)
    }
    return [
        f"{one['type']} is {one['status']} ({one['reason']})"
        for one in after.get("conditions", ())
        if known.get(one["type"]) != (one["status"], one["reason"])
    ]


def _version(run: _Run, planned: str) -> str:
    """The version that was planned for, or the one that our own last write made of it."""
    return run.resource_version if planned == run.planned else planned


def _target(run: _Run, action: Action) -> tuple[str, str] | None:
    """Kind and name of what an action writes; None: it writes nothing that matters later."""
    match action:
        case Apply():
            return action.object["kind"], meta(action.object)["name"]
        case Delete():
            return action.kind, action.name
        case WriteStatus() | SetFinalizer():
            return WORKSPACE.kind, run.key.name
        case _:
            return None
