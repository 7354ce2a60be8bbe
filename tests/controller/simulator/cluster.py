"""What else runs in a cluster: garbage collector, StatefulSet controller, scheduler, kubelet,
Karpenter. Each is one function over the server's state; they act at once and wait by the clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from berth.cluster.quantity import parse_quantity
from berth.controller.kinds import (
    CHILDREN,
    EVENT,
    NODE,
    NODE_CLAIM,
    POD,
    STATEFUL_SET,
    WORKSPACE,
    Object,
)
from berth.workspace.names import digest
from controller.simulator.scheduling import request, suits
from controller.simulator.server import Change, Server

Fate = Literal["ready", "crash", "oom", "pull", "slow"]
Launch = Literal["ready", "no_capacity", "stuck"]
GPU = "nvidia.com/gpu"

# Seconds.
_BIND, _PULL, _LOAD, _KILL = 1.0, 3.0, 20.0, 2.0
_LAUNCH, _REGISTER, _INITIALIZE, _TERMINATE = 5.0, 40.0, 60.0, 10.0
_RESTART = 10.0  # after a crash; doubles up to five minutes


@dataclass(slots=True)
class Cluster:
    """The machinery around the API server.

    Args:
        fate: what becomes of a pod once it is on a node.
        launch: what becomes of a NodeClaim.
        machines: by instance type, the labels and what may be allocated of such a node.
    """

    server: Server
    clock: Callable[[], float]
    fate: Callable[[Object], Fate] = lambda pod: "ready"
    launch: Callable[[Object], Launch] = lambda claim: "ready"
    machines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kubelet: bool = True  # whether pods on nodes come to life and end by themselves
    dirty: bool = True
    frozen: bool = False  # nobody acts
    _since: dict[tuple[str, str], float] = field(default_factory=dict)  # (uid, phase) -> begun
    _timers: list[float] = field(default_factory=list)

    def saw(self, change: Change) -> None:
        if change.kind != EVENT:
            self.dirty = True

    def step(self) -> None:
        """Let everyone act until nobody has anything to do at this moment."""
        if self.frozen:
            self.dirty = False
            return
        now = self.clock()
        while self._timers and self._timers[0] <= now:
            heapq.heappop(self._timers)
            self.dirty = True
        while self.dirty:
            self.dirty = False
            self._empty_namespaces()
            self._collect()
            for claim in self.server.objects[NODE_CLAIM].copy().values():
                self._provision(claim)
            for workload in self.server.objects[STATEFUL_SET].copy().values():
                self._scale(workload)
            for pod in self.server.objects[POD].copy().values():
                self._run(pod)

    def next_at(self) -> float | None:
        return self._timers[0] if self._timers and not self.frozen else None

    def _passed(self, obj: Object, phase: str, seconds: float) -> bool:
        """Whether a phase of an object, begun when this was first asked, is over."""
        key = (obj["metadata"]["uid"], phase)
        begun = self._since.setdefault(key, self.clock())
        if self.clock() >= begun + seconds:
            return True
        if begun + seconds not in self._timers:
            heapq.heappush(self._timers, begun + seconds)
        return False

    # Garbage collector and namespaces

    def _empty_namespaces(self) -> None:
        for namespace in self.server.going:
            for kind in (WORKSPACE, *CHILDREN, POD):
                for obj in self.server.search(kind, namespace):
                    if "deletionTimestamp" not in obj["metadata"]:
                        self.server.delete(kind, namespace, obj["metadata"]["name"])

    def _collect(self) -> None:
        uids = {
            obj["metadata"]["uid"]
            for kind in (WORKSPACE, STATEFUL_SET)
            for obj in self.server.objects[kind].values()
        }
        for kind in (*CHILDREN, POD):
            for obj in self.server.objects[kind].copy().values():
                owners = obj["metadata"].get("ownerReferences") or []
                if owners and not any(owner["uid"] in uids for owner in owners):
                    self._delete_pod(obj) if kind == POD else self.server.delete(
                        kind, obj["metadata"]["namespace"], obj["metadata"]["name"]
                    )

    # StatefulSet controller

    def _scale(self, workload: Object) -> None:
        m, spec = workload["metadata"], workload["spec"]
        if "deletionTimestamp" in m:
            return
        revision = f"{m['name']}-{digest(repr(_sorted(spec['template'])), 10)}"
        wanted = range(spec.get("replicas", 1))
        pods = {
            pod["metadata"]["name"]: pod
            for pod in self.server.search(POD, m["namespace"])
            if _owned(pod, workload)
        }
        for index in wanted:
            name = f"{m['name']}-{index}"
            free = self.server.find(POD, m["namespace"], name) is None
            if name not in pods and free and m["namespace"] not in self.server.going:
                pods[name] = self._make_pod(workload, name, index, revision)
        surplus = [p for n, p in pods.items() if int(n.rsplit("-", 1)[1]) not in wanted]
        for pod in surplus:
            self._delete_pod(pod)
        if spec["updateStrategy"]["type"] == "RollingUpdate":
            self._roll(workload, pods, revision)
        live = [p for p in pods.values() if "deletionTimestamp" not in p["metadata"]]
        fresh = [p for p in live if _revision(p) == revision]
        ready = [p for p in live if is_ready(p)]
        known = (workload.get("status") or {}).get("currentRevision", revision)
        done = len(fresh) == len(ready) == len(wanted)
        self.server.set_status(
            STATEFUL_SET,
            workload,
            observedGeneration=m["generation"],
            replicas=len(pods),
            readyReplicas=len(ready),
            availableReplicas=len(ready),
            updatedReplicas=len(fresh),
            currentReplicas=len(live),
            updateRevision=revision,
            currentRevision=revision if done else known,
        )

    def _roll(self, workload: Object, pods: Mapping[str, Object], revision: str) -> None:
        """One pod at a time, from the last: the next only when the new one is ready."""
        for index in reversed(range(workload["spec"].get("replicas", 1))):
            pod = pods.get(f"{workload['metadata']['name']}-{index}")
            if pod is None or "deletionTimestamp" in pod["metadata"]:
                return
            if _revision(pod) != revision:
                self._delete_pod(pod)
                return
            if not is_ready(pod):
                return

    def _make_pod(self, workload: Object, name: str, index: int, revision: str) -> dict[str, Any]:
        m, template = workload["metadata"], workload["spec"]["template"]
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": m["name"]}
        return self.server.create(
            POD,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "namespace": m["namespace"],
                    "name": name,
                    "labels": {
                        **(template["metadata"].get("labels") or {}),
                        "controller-revision-hash": revision,
                        "statefulset.kubernetes.io/pod-name": name,
                        "apps.kubernetes.io/pod-index": str(index),
                    },
                    "annotations": dict(template["metadata"].get("annotations") or {}),
                    "ownerReferences": [{**owner, "uid": m["uid"], "controller": True}],
                },
                "spec": {**template["spec"], "hostname": name},
                "status": {"phase": "Pending"},
            },
            manager="kube-controller-manager",
        )

    def _delete_pod(self, pod: Object) -> None:
        """As kubelet does it: gone when the process has ended."""
        m = pod["metadata"]
        live = self.server.find(POD, m["namespace"], m["name"])
        if live is None or live["metadata"]["uid"] != m["uid"]:
            return
        if "deletionTimestamp" not in live["metadata"]:
            held = {**live, "metadata": {**live["metadata"], "finalizers": ["kubelet"]}}
            self.server.replace(POD, held, "kubelet")
            self.server.delete(POD, m["namespace"], m["name"])

    # Scheduler and kubelet

    def _run(self, pod: Object) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            if self._passed(pod, "kill", _KILL) and (self.kubelet or not _node_of(pod)):
                free = {**pod["metadata"], "finalizers": []}
                self.server.replace(POD, {**pod, "metadata": free}, "kubelet")
            return
        node = pod["spec"].get("nodeName")
        if not node:
            self._schedule(pod)
        elif self.server.find(NODE, None, node) is None:
            self._delete_pod(pod)
        elif self.kubelet:
            self._live(pod)

    def _schedule(self, pod: Object) -> None:
        if not self._passed(pod, "bind", _BIND):
            return
        nodes = self.server.search(NODE)
        for node in nodes:
            if not suits(node, pod) or not self._has_room(node, pod):
                continue
            bound = {**pod, "spec": {**pod["spec"], "nodeName": node["metadata"]["name"]}}
            self.server.replace(POD, bound, "kube-scheduler")
            self.server.set_status(POD, pod, conditions=[_condition("PodScheduled", True)])
            return
        message = f"0/{len(nodes)} nodes are available: {len(nodes)} Insufficient {GPU}."
        refused = _condition("PodScheduled", False, "Unschedulable", message)
        self.server.set_status(POD, pod, phase="Pending", conditions=[refused])
        self.warn(pod, "FailedScheduling", message)

    def _has_room(self, node: Object, pod: Object) -> bool:
        allocatable = node["status"]["allocatable"]
        others = [
            other
            for other in self.server.objects[POD].values()
            if other["spec"].get("nodeName") == node["metadata"]["name"]
        ]
        return all(
            sum(request(p, resource) for p in (*others, pod))
            <= parse_quantity(str(allocatable.get(resource, "0")))
            for resource in (GPU, "memory")
        )

    def _live(self, pod: Object) -> None:
        if not self._passed(pod, "pull", _PULL):
            return
        fate = self.fate(pod)
        if fate == "pull":
            message = "Back-off pulling image: ErrImagePull: manifest unknown"
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
            self._report(pod, "Pending", ready=False, state=waiting)
            self.warn(pod, "Failed", message)
        elif fate == "slow":
            self._report(pod, "Running", ready=False, state={"running": {}})
        elif fate == "ready":
            ready = self._passed(pod, f"load-{self._restarts(pod)}", _LOAD)
            self._report(pod, "Running", ready=ready, state={"running": {}})
        else:
            self._crash(pod, fate)

    def _crash(self, pod: Object, fate: Fate) -> None:
        """Ends after a while, again and again, ever later."""
        times = self._restarts(pod)
        if times and not self._passed(pod, f"restart-{times}", min(300, _RESTART * 2**times)):
            return
        reason, code = ("OOMKilled", 137) if fate == "oom" else ("Error", 1)
        ended = {"terminated": {"reason": reason, "exitCode": code}}
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting"}}
        self._report(pod, "Running", ready=False, state=waiting, last=ended, restarts=times + 1)
        self._passed(pod, f"restart-{times + 1}", min(300, _RESTART * 2 ** (times + 1)))
        self.warn(pod, "BackOff", "Back-off restarting failed container")

    @staticmethod
    def _restarts(pod: Object) -> int:
        statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
        return int(statuses[0].get("restartCount", 0))

    def _report(
        self,
        pod: Object,
        phase: str,
        *,
        ready: bool,
        state: Mapping[str, Any],
        last: Mapping[str, Any] | None = None,
        restarts: int | None = None,
    ) -> None:
        container = pod["spec"]["containers"][0]
        before = ((pod.get("status") or {}).get("containerStatuses") or [{}])[0]
        self.server.set_status(
            POD,
            pod,
            phase=phase,
            conditions=[
                _condition("PodScheduled", True),
                _condition("ContainersReady", ready),
                _condition("Ready", ready, "" if ready else "ContainersNotReady"),
            ],
            containerStatuses=[
                {
                    "name": container["name"],
                    "image": container["image"],
                    "ready": ready,
                    "started": ready,
                    "restartCount": self._restarts(pod) if restarts is None else restarts,
                    "state": state,
                    "lastState": before.get("lastState", {}) if last is None else last,
                }
            ],
        )

    # Karpenter

    def _provision(self, claim: Object) -> None:
        name = claim["metadata"]["name"]
        held = "karpenter.sh/termination"
        if "deletionTimestamp" in claim["metadata"]:
            if self._passed(claim, "terminate", _TERMINATE):
                if self.server.find(NODE, None, name) is not None:
                    self.server.delete(NODE, None, name)
                kept = [f for f in claim["metadata"].get("finalizers", []) if f != held]
                free = {**claim["metadata"], "finalizers": kept}
                self.server.replace(NODE_CLAIM, {**claim, "metadata": free}, "karpenter")
            return
        if held not in claim["metadata"].get("finalizers", []):
            kept = [*claim["metadata"].get("finalizers", []), held]
            patch = {"metadata": {"finalizers": kept}}
            claim = self.server.merge(NODE_CLAIM, None, name, patch, "karpenter")
        fate = self.launch(claim)
        if fate == "stuck" or not self._passed(claim, "launch", _LAUNCH):
            return
        if fate == "no_capacity":
            message = "all requested instance types were unavailable during launch"
            refused = _condition("Launched", False, "InsufficientCapacityError", message)
            not_ready = _condition("Ready", False, "NotReady", "Launched=False")
            self.server.set_status(NODE_CLAIM, claim, conditions=[refused, not_ready])
            self.warn(claim, "InsufficientCapacityError", message, namespace="default")
            self.server.delete(NODE_CLAIM, None, name)  # as Karpenter does
            return
        registered = self._passed(claim, "register", _REGISTER)
        ready = self._passed(claim, "initialize", _INITIALIZE)
        if registered and self.server.find(NODE, None, name) is None:
            self.server.create(NODE, self._node(claim), "karpenter")
        if ready:
            node = self.server.find(NODE, None, name)
            assert node is not None
            self.server.set_status(NODE, node, conditions=[_condition("Ready", True)])
        self.server.set_status(
            NODE_CLAIM,
            claim,
            providerID=f"cloud:///{name}",
            **({"nodeName": name} if registered else {}),
            conditions=[
                _condition("Launched", True, "Launched"),
                _condition("Registered", registered),
                _condition("Initialized", ready),
                _condition("Ready", ready),
            ],
        )

    def _node(self, claim: Object) -> dict[str, Any]:
        single = {
            r["key"]: r["values"][0]
            for r in claim["spec"]["requirements"]
            if r.get("operator") == "In"
        }
        machine = self.machines[single["node.kubernetes.io/instance-type"]]
        labels = {**machine["labels"], **single, **(claim["metadata"].get("labels") or {})}
        name = claim["metadata"]["name"]
        return make_node(
            name, labels, machine["allocatable"], claim["spec"].get("taints") or [], ready=False
        )

    # Events

    def warn(self, obj: Object, reason: str, message: str, namespace: str | None = None) -> None:
        m = obj["metadata"]
        where = namespace or m["namespace"]
        name = f"{m['name']}.{digest(m['uid'] + reason + message)}"
        known = self.server.find(EVENT, where, name)
        if known is not None:
            return
        self.server.create(
            EVENT,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"namespace": where, "name": name},
                "involvedObject": {"kind": obj["kind"], "name": m["name"], "uid": m["uid"]},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "count": 1,
                "lastTimestamp": self.server.stamp(),
            },
            manager="kubelet",
        )


def make_node(
    name: str,
    labels: Mapping[str, str],
    allocatable: Mapping[str, str],
    taints: list[Any] | None = None,
    *,
    ready: bool = True,
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": {"taints": list(taints or [])},
        "status": {
            "allocatable": dict(allocatable),
            "capacity": dict(allocatable),
            "conditions": [_condition("Ready", ready)],
        },
    }


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _condition(kind: str, status: bool, reason: str = "", message: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"type": kind, "status": "True" if status else "False"}
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return found


def _node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName") or "")


def _owned(pod: Object, workload: Object) -> bool:
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == workload["metadata"]["uid"] for owner in owners)


def _revision(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("controller-revision-hash"))


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return sorted((key, _sorted(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return [_sorted(inner) for inner in value]
    return value
