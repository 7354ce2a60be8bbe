"""The promises, checked while a simulation runs: a broken one raises, with its story."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from berth.controller.kinds import (
    CHILDREN,
    NODE,
    NODE_CLAIM,
    POD,
    STATEFUL_SET,
    WORKSPACE,
    Key,
    Kind,
    Object,
    tag_of,
)
from berth.controller.observe import observed_of
from berth.controller.store import Store
from berth.workspace.actions import Apply, Delete
from berth.workspace.assess import workspace_digest
from berth.workspace.names import (
    APPLIED,
    ASKED,
    CONFIG,
    NAMESPACE_LABEL,
    SURGE,
    VERSION,
    WORKSPACE_LABEL,
    label_value,
)
from berth.workspace.plan import plan
from controller.simulator.reports import is_ready
from controller.simulator.server import Change

if TYPE_CHECKING:
    from controller.simulator.process import Process
    from controller.simulator.simulation import Simulation

# What says that the model answers.
_PROMISES = ("InferenceReady", "WorkspaceReady", "WorkspaceSucceeded")
# Seconds for which a condition may be true after it ceased to be: a lost event, until the resync.
_STALENESS = 400.0
_REQUESTS = 400  # in any minute: more is a hot loop
# Not the same in two runs of the same story. The hash of what was applied covers the owner's uid.
_VOLATILE = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    APPLIED,
    CONFIG,
)
_RESTARTS = re.compile(r"has ended (\d+ times|once)")
_RESOURCE_VERSION = re.compile(r"resourceVersion \d+")
_CLAIM = re.compile(r"(-[0-9a-f]{8})-\d+")


class Checks:
    """Watches one simulation."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._requests: deque[float] = deque()
        self._strangers: set[str] = set()  # uids of what users made
        self._held: dict[tuple[str, int], float] = {}  # Workspace and generation: last true when
        self._reported: dict[str, int] = {}  # highest observedGeneration by uid
        self._frozen = False
        self._surge_refused = False
        self._served: set[str] = set()  # uids of Workspaces that answered when the chart changed
        # Raised where it happens, and again by the simulation: a controller survives anything.
        self.broken: AssertionError | None = None
        self.awaits_at_last_write = 0
        self.used: set[tuple[str, Kind]] = set()  # requests by verb and kind
        self.late_writes: list[str] = []
        self.story: list[str] = []  # the writes, in order

    # Told by the processes and the server

    def asked(self, verb: str, kind: Kind) -> None:
        """A request is about to be sent."""
        self.used.add((verb, kind))
        now = self._sim.now
        self._requests.append(now)
        while self._requests[0] < now - 60:
            self._requests.popleft()
        self._hold(len(self._requests) <= _REQUESTS, f"hot loop, the last: {verb} {kind.kind}")

    def issued(self, process: Process, verb: str, kind: Kind) -> None:
        """A write is about to be sent."""
        if self._sim.scenario.controllers > 1:
            self._hold(process.elector.leads(), f"{verb} {kind.kind} without the lease")
            leaders = [p.number for p in self._sim.processes if p.alive and p.elector.leads()]
            self._hold(len(leaders) == 1, f"{leaders} lead at the same time")

    def accepted(self, verb: str, kind: Kind) -> None:
        """A write was carried out, whether it changed anything or not."""
        if self._frozen:
            self.late_writes.append(f"{verb} {kind.kind}")

    def wrote(self, process: Process, verb: str, kind: Kind, obj: Object, answer: Any) -> None:
        """A write changed something."""
        self.awaits_at_last_write = self._sim.dice.awaits
        m = obj["metadata"]
        self.story.append(f"{self._sim.now:8.2f} c{process.number} {verb} {kind.kind} {m['name']}")
        if verb in ("apply", "delete") and kind in CHILDREN:
            there = answer["metadata"]["uid"] if answer else m.get("uid")
            self._hold(there not in self._strangers, f"{verb} of another's {kind.kind}")
        if kind == WORKSPACE and verb == "status":
            self._check_status(answer)

    def changed(self, change: Change) -> None:
        """The server has changed."""
        m = change.object["metadata"]
        if change.created:
            if "user" in self._sim.server.owners[m["uid"]] and change.kind in CHILDREN:
                self._strangers.add(m["uid"])
            if change.kind in (NODE_CLAIM, STATEFUL_SET):
                self._check_count(change)
        if change.kind in (POD, STATEFUL_SET, WORKSPACE):
            down = []
            for workspace in self._sim.server.objects[WORKSPACE].values():
                self._look(workspace)
                m = workspace["metadata"]
                if self._sim.scenario.gapless and self._has_a_ready_pod(workspace):
                    self._served.add(m["uid"])
                if m["uid"] in self._served and not self._has_a_ready_pod(workspace):
                    down.append(m["name"])
            gapless = self._sim.scenario.gapless and not self._surge_refused
            most = 0 if gapless else self._sim.settings.max_restarts
            self._hold(len(down) <= most, f"the chart's change stopped {down} at once")

    def refused(self, obj: Object) -> None:
        """A write was refused. Without a second StatefulSet a roll-out has its gap."""
        labels = obj["metadata"].get("labels") or {}
        self._surge_refused = self._surge_refused or SURGE in labels

    def upgraded(self) -> None:
        """From now on no more Workspaces than that may stop to answer at the same time."""
        workspaces = self._sim.server.objects[WORKSPACE].values()
        self._served = {w["metadata"]["uid"] for w in workspaces if self._has_a_ready_pod(w)}

    def nothing_may_change(self) -> None:
        """Nobody but the controllers does anything from now on."""
        self._frozen = True
        self._sim.cluster.frozen = True

    # The promises

    def _check_count(self, change: Change) -> None:
        """No double create: never more of a kind than the Workspace asks for."""
        m = change.object["metadata"]
        labels = m.get("labels") or {}
        same = [
            obj
            for obj in self._sim.server.objects[change.kind].values()
            if (obj["metadata"].get("labels") or {}).get(WORKSPACE_LABEL)
            == labels.get(WORKSPACE_LABEL)
            and "deletionTimestamp" not in obj["metadata"]
            and _namespace(obj) == _namespace(change.object)
            and obj["metadata"]["uid"] not in self._strangers
            and (SURGE in (obj["metadata"].get("labels") or {})) == (SURGE in labels)
        ]
        most = 1
        if change.kind == NODE_CLAIM:
            tag = Key(labels[NAMESPACE_LABEL], labels[WORKSPACE_LABEL])
            workspaces = self._sim.server.objects[WORKSPACE]
            owner = next((w for n, w in workspaces.items() if tag_of(Key(*n)) == tag), None)
            self._hold(owner is not None, "a NodeClaim for a Workspace that is gone")
            assert owner is not None
            most = owner["resource"].get("count", 1)
        found = [obj["metadata"]["name"] for obj in same]
        self._hold(len(found) <= most, f"{change.kind.kind} made twice: {found}")

    def _check_status(self, workspace: Object) -> None:
        m, status = workspace["metadata"], workspace["status"]
        generation, uid = m["generation"], m["uid"]
        reported = status.get("observedGeneration", 0)
        self._hold(reported <= generation, "observedGeneration from the future")
        self._hold(reported >= self._reported.get(uid, 0), "observedGeneration goes back")
        self._reported[uid] = reported
        for condition in status.get("conditions") or ():
            seen = condition["observedGeneration"]
            self._hold(seen <= generation, "a condition from the future")
            if condition["type"] in _PROMISES and condition["status"] == "True":
                held = self._held.get((uid, seen))
                now = self._sim.now
                self._hold(
                    held is not None and now - held <= _STALENESS,
                    f"{condition['type']} is true of generation {seen}, which last held {held}",
                )

    def _look(self, workspace: Object) -> None:
        """Note when it is true that the model of this generation answers."""
        m = workspace["metadata"]
        if not self._answers(workspace):
            return
        mark = (m["uid"], m["generation"])
        if mark in self._held or self._was_asked_for(workspace) or self._is_deployed(workspace):
            self._held[mark] = self._sim.now

    def _answers(self, workspace: Object) -> bool:
        """A pod of the workload answers, of the template that it has now, and none of another."""
        for workload in self._sim.server.search(STATEFUL_SET, workspace["metadata"]["namespace"]):
            if SURGE in workload["metadata"]["labels"]:
                continue
            owners = workload["metadata"].get("ownerReferences") or ()
            if not any(owner["uid"] == workspace["metadata"]["uid"] for owner in owners):
                continue
            pods = [
                pod
                for pod in self._sim.server.search(POD, workspace["metadata"]["namespace"])
                if any(
                    owner["uid"] == workload["metadata"]["uid"]
                    for owner in pod["metadata"].get("ownerReferences") or ()
                )
            ]
            beside = [
                pod
                for pod in self._sim.server.search(POD, workspace["metadata"]["namespace"])
                if SURGE in (pod["metadata"].get("labels") or {})
                and pod["metadata"]["labels"].get(WORKSPACE_LABEL)
                == workload["metadata"]["labels"].get(WORKSPACE_LABEL)
            ]
            wanted = _annotation(workload["spec"]["template"], VERSION)
            live = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
            if any(
                is_ready(pod) and _annotation(pod, VERSION) == wanted for pod in beside
            ) and not any("deletionTimestamp" in pod["metadata"] for pod in beside):
                return True
            return any(is_ready(pod) for pod in live) and all(
                _annotation(pod, VERSION) == wanted for pod in live
            )
        return False

    def _was_asked_for(self, workspace: Object) -> bool:
        """Whether the workload was made for what the Workspace asks for now: the chart may since
        have come to want other pods, which wait for their turn."""
        m = workspace["metadata"]
        return any(
            _annotation(workload, ASKED) == workspace_digest(workspace)
            for workload in self._sim.server.search(STATEFUL_SET, m["namespace"])
            for owner in workload["metadata"].get("ownerReferences") or ()
            if owner["uid"] == workspace["metadata"]["uid"]
        )

    def _has_a_ready_pod(self, workspace: Object) -> bool:
        return self._ready_pods(workspace) > 0

    def _is_whole(self, workspace: Object) -> bool:
        """As many pods are ready as are asked for."""
        return self._ready_pods(workspace) == workspace["resource"].get("count", 1)

    def _ready_pods(self, workspace: Object) -> int:
        ready = [
            pod
            for pod in self._sim.server.search(POD, workspace["metadata"]["namespace"])
            if is_ready(pod)
            and (pod["metadata"].get("labels") or {}).get(WORKSPACE_LABEL)
            == label_value(workspace["metadata"]["name"])
        ]
        return len(ready)

    def _is_deployed(self, workspace: Object) -> bool:
        """Whether the planner, shown everything as it is, would leave the workload as it is."""
        scenario = self._sim.scenario
        store = Store()
        store.has_claims = NODE_CLAIM not in self._sim.server.missing
        for kind in (WORKSPACE, *CHILDREN, POD, NODE, NODE_CLAIM):
            for obj in self._sim.server.objects[kind].values():
                store.upsert(kind, obj)
        m = workspace["metadata"]
        observed = observed_of(
            store,
            Key(m["namespace"], m["name"]),
            workspace,
            settings=self._sim.settings,
            presets=scenario.presets,
            config_map=self._sim.config_map(workspace),
        )
        observed = replace(observed, absent=())
        actions = plan(observed, self._sim.wall())  # not the scenario's, which may be mistaken
        applied = {action.object["kind"] for action in actions if isinstance(action, Apply)}
        deleted = {action.kind for action in actions if isinstance(action, Delete)}
        return STATEFUL_SET.kind not in applied | deleted

    # At the end

    def settled(self) -> None:
        """Everything has had its time: what is said is true, and nothing is left behind."""
        server = self._sim.server
        for workspace in server.objects[WORKSPACE].values():
            for condition in (workspace.get("status") or {}).get("conditions") or ():
                if condition["type"] in _PROMISES and condition["status"] == "True":
                    self._hold(self._answers(workspace), f"{condition['type']} is stale")
                    self._hold(self._is_whole(workspace), f"{condition['type']}, and pods miss")
        uids = {obj["metadata"]["uid"] for obj in server.objects[WORKSPACE].values()}
        tags = {
            tag_of(Key(obj["metadata"]["namespace"], obj["metadata"]["name"]))
            for obj in server.objects[WORKSPACE].values()
        }
        for claim in server.objects[NODE_CLAIM].values():
            labels = claim["metadata"]["labels"]
            tag = Key(labels[NAMESPACE_LABEL], labels[WORKSPACE_LABEL])
            self._hold(tag in tags, f"orphan: NodeClaim {claim['metadata']['name']}")
        for kind in CHILDREN:
            for obj in server.objects[kind].values():
                owners = {o["uid"] for o in obj["metadata"].get("ownerReferences") or ()}
                mine = bool(owners & uids) or obj["metadata"]["uid"] in self._strangers
                self._hold(mine, f"orphan: {kind.kind} {obj['metadata']['name']}")

    def quiet(self) -> None:
        """A resync, and a restart without memory, that find nothing changed write nothing."""
        self._hold(not self.late_writes, f"written without a change: {self.late_writes}")

    def final_state(self) -> dict[str, Any]:
        """What is there, without what differs between two runs of one story."""
        server = self._sim.server
        state: dict[str, Any] = {}
        for kind in (WORKSPACE, *CHILDREN, NODE_CLAIM):
            for (namespace, name), obj in sorted(server.objects[kind].items()):
                seen = obj if kind == WORKSPACE else {k: v for k, v in obj.items() if k != "status"}
                title = f"{kind.kind} {namespace}/{_steady(name)}"
                state.setdefault(title, []).append(_steady(seen))
        for (namespace, name), pod in sorted(server.objects[POD].items()):
            node = pod["spec"].get("nodeName") is not None
            state[f"Pod {namespace}/{name}"] = [(pod["status"]["phase"], is_ready(pod), node)]
        return state

    def _hold(self, promise: bool, otherwise: str) -> None:
        if not promise:
            told = "\n".join(self.story[-40:])
            self.broken = self.broken or AssertionError(
                f"{self._sim.scenario.name} at {self._sim.now:.2f} s: {otherwise}\n{told}"
            )
            raise self.broken


def _annotation(obj: Object, name: str) -> str | None:
    found = (obj["metadata"].get("annotations") or {}).get(name)
    return None if found is None else str(found)


def _namespace(obj: Object) -> str:
    labels = obj["metadata"].get("labels") or {}
    return str(obj["metadata"].get("namespace") or labels.get(NAMESPACE_LABEL, ""))


def _steady(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _steady(inner)
            for key, inner in value.items()
            if key not in _VOLATILE and not key.endswith(("Time", "Timestamp"))
        }
    if isinstance(value, list | tuple):
        return [_steady(item) for item in value]
    if not isinstance(value, str):
        return value
    value = _RESOURCE_VERSION.sub("resourceVersion N", value)
    # A claim that takes another's place may have the next number; crashes go on and on.
    return _RESTARTS.sub("has ended", _CLAIM.sub(r"\1-N", value))
