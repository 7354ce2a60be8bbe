"""Workspaces, nodes and a small model of a cluster, for tests of the planner.

`Cluster` carries out a plan as an API server, the StatefulSet's controller, a scheduler and a
kubelet would, as far as the planner can see it.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from berth.presets.catalogue import Preset, load_presets
from berth.workspace.actions import (
    Action,
    Apply,
    Delete,
    Emit,
    LookAgain,
    SetFinalizer,
    WriteStatus,
)
from berth.workspace.needs import Need
from berth.workspace.observed import Observed, Settings
from berth.workspace.plan import plan
from berth.workspace.reasons import Reason

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
GIB = 2**30
Object = dict[str, Any]


@cache
def presets() -> dict[str, Preset]:
    return load_presets()


def workspace(preset: str | None = "falcon-7b", name: str = "falcon", **changes: Any) -> Object:
    """A Workspace as the API server has it; `changes` are of resource, or named below."""
    special = {
        key: changes.pop(key)
        for key in ("annotations", "config", "template", "options", "access", "status")
        if key in changes
    }
    inference: Object = {}
    if preset is not None:
        inference["preset"] = {"name": preset}
        if "options" in special:
            inference["preset"]["presetOptions"] = special["options"]
        if "access" in special:
            inference["preset"]["accessMode"] = special["access"]
    if "template" in special:
        inference["template"] = special["template"]
    if "config" in special:
        inference["config"] = special["config"]
    metadata: Object = {
        "name": name,
        "namespace": "models",
        "uid": f"uid-of-{name}",
        "generation": 1,
        "resourceVersion": "1",
    }
    if "annotations" in special:
        metadata["annotations"] = special["annotations"]
    resource = {"count": 1, "labelSelector": {"matchLabels": {"pool": "gpu"}}, **changes}
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": metadata,
        "resource": resource,
        "inference": inference,
        "status": special.get("status", {}),
    }


def gpu_node(
    name: str = "a",
    gpus: int = 1,
    product: str = "NVIDIA-L4",
    memory: int = 23034,
    **changes: Any,
) -> Object:
    """A Ready node with GPUs, as GPU Feature Discovery labels it."""
    labels = {
        "pool": "gpu",
        "kubernetes.io/hostname": name,
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.count": str(gpus),
        "nvidia.com/gpu.memory": str(memory),
        "nvidia.com/gpu.present": "true",
    }
    allocatable = {"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": str(gpus)}
    return node(name, labels | changes.pop("labels", {}), allocatable, **changes)


def cpu_node(name: str = "c", memory: str = "8Gi", **changes: Any) -> Object:
    """A Ready node without GPUs."""
    labels = {"pool": "cpu", "kubernetes.io/hostname": name}
    allocatable = {"cpu": "4", "memory": memory}
    return node(name, labels | changes.pop("labels", {}), allocatable, **changes)


def node(
    name: str,
    labels: dict[str, str],
    allocatable: dict[str, str],
    *,
    ready: bool = True,
    **spec: Any,
) -> Object:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-of-node-{name}", "labels": labels},
        "spec": spec,
        "status": {"allocatable": allocatable, "conditions": [condition]},
    }


def busy_pod(node_name: str, gpus: int = 1, name: str = "other") -> Object:
    """Somebody else's pod on a node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-of-{name}"},
        "spec": {
            "nodeName": node_name,
            "containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}],
        },
        "status": {"phase": "Running"},
    }


class Cluster:
    """One Workspace's cluster; `settle` plans and carries out until nothing is left to do."""

    def __init__(
        self,
        ws: Object,
        nodes: list[Object],
        *,
        settings: Settings | None = None,
        pods: list[Object] | None = None,
        claims: list[Object] | None = None,
        config_map: Object | None = None,
    ) -> None:
        self.workspace: Object | None = ws
        self.nodes = nodes
        self.settings = settings or Settings()
        self.others = pods or []
        self.children: dict[tuple[str, str], Object] = {}
        self.pods: dict[str, Object] = {}
        self.claims: dict[str, Object] | None = None
        if claims is not None:
            self.claims = {claim["metadata"]["name"]: claim for claim in claims}
        self.config_map = config_map
        self.events: list[Object] = []
        self.rejected: tuple[Any, ...] = ()
        self.absent: tuple[Need, ...] | None = ()
        self.restarting: tuple[str, ...] = ()
        self.now = NOW
        self.told: list[Emit] = []
        self.log: list[Action] = []
        self.pods_become_ready = True
        self._count = 100

    def observed(self) -> Observed:
        assert self.workspace is not None
        return Observed(
            workspace=self.workspace,
            settings=self.settings,
            presets=presets(),
            nodes=tuple(self.nodes),
            pods=(*self.others, *self.pods.values()),
            children=tuple(self.children.values()),
            claims=None if self.claims is None else tuple(self.claims.values()),
            config_map=self.config_map,
            events=tuple(self.events),
            rejected=self.rejected,
            absent=self.absent,
            restarting=self.restarting,
        )

    def plan(self) -> tuple[Action, ...]:
        return plan(self.observed(), self.now)

    def step(self) -> list[Action]:
        """Plan once, carry it out, and let the cluster do its part. The writes that there were."""
        writes = [one for one in self.plan() if not isinstance(one, LookAgain)]
        for action in writes:
            self.carry_out(action)
        self._stateful_sets()
        self.now += timedelta(seconds=1)
        return writes

    def settle(self, most: int = 30) -> int:
        """Until a plan writes nothing. How many plans that took."""
        self._stateful_sets()
        for turn in range(most):
            if self.workspace is None or not self.step():
                return turn
        raise AssertionError(f"no fixpoint after {most} plans; the last: {self.plan()}")

    def condition(self, kind: str) -> Object:
        assert self.workspace is not None
        found = self.workspace["status"].get("conditions", [])
        return next((one for one in found if one["type"] == kind), {})

    def reason(self, kind: str) -> tuple[str, str]:
        found = self.condition(kind)
        return found.get("status", ""), found.get("reason", "")

    def child(self, kind: str, name: str | None = None) -> Object:
        return next(
            child
            for (k, n), child in self.children.items()
            if k == kind and (name is None or n == name)
        )

    def edit(self, **changes: Any) -> None:
        """A new generation of the Workspace: top-level keys replaced."""
        assert self.workspace is not None
        self.workspace = copy.deepcopy(self.workspace) | changes
        self.workspace["metadata"]["generation"] += 1
        self._touch(self.workspace)

    def _touch(self, obj: Object) -> None:
        self._count += 1
        obj["metadata"]["resourceVersion"] = str(self._count)

    def carry_out(self, action: Action) -> None:
        self.log.append(action)
        assert self.workspace is not None
        metadata = self.workspace["metadata"]
        if isinstance(action, Emit):
            self.told.append(action)
        elif isinstance(action, WriteStatus):
            check_reasons(action.status)
            assert action.resource_version == metadata["resourceVersion"]
            self.workspace = copy.deepcopy(self.workspace) | {"status": action.status}
            self._touch(self.workspace)
        elif isinstance(action, SetFinalizer):
            assert action.resource_version == metadata["resourceVersion"]
            self.workspace = copy.deepcopy(self.workspace)
            finalizers = ["workspace.finalizer.kaito.sh"] if action.present else []
            self.workspace["metadata"]["finalizers"] = finalizers
            self._touch(self.workspace)
            if not finalizers and "deletionTimestamp" in metadata:
                self.workspace = None
        elif isinstance(action, Apply):
            self._apply(action)
        elif isinstance(action, Delete):
            self._delete(action)

    def _apply(self, action: Apply) -> None:
        wanted = copy.deepcopy(action.object)
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        self._count += 1
        if kind == "NodeClaim":
            assert self.claims is not None
            assert action.uid is None
            assert name not in self.claims
            wanted["metadata"]["uid"] = f"uid-{self._count}"
            self.claims[name] = wanted
            return
        before = self.children.get((kind, name))
        if before is None:
            assert action.uid is None
            wanted["metadata"]["uid"] = f"uid-{self._count}"
            wanted["metadata"]["generation"] = 1
        else:
            assert action.uid == before["metadata"]["uid"], "uid is a precondition"
            wanted["metadata"]["uid"] = action.uid
            generation = before["metadata"].get("generation", 1)
            changed = before["spec"] != _defaulted(wanted)["spec"]
            wanted["metadata"]["generation"] = generation + changed
            wanted["status"] = before.get("status", {})
        self.children[kind, name] = _defaulted(wanted)

    def _delete(self, action: Delete) -> None:
        if action.kind == "NodeClaim":
            assert self.claims is not None
            assert self.claims.pop(action.name)["metadata"]["uid"] == action.uid
            return
        gone = self.children.pop((action.kind, action.name))
        assert gone["metadata"]["uid"] == action.uid
        if action.kind == "StatefulSet":
            self._end_pods(gone)

    def _stateful_sets(self) -> None:
        """Kubernetes' part: pods of the newest revision, bound, and ready if they may be."""
        for (kind, name), live in self.children.items():
            if kind != "StatefulSet":
                continue
            revision = f"{name}-{hash(str(live['spec']['template'])) & 0xFFFFFFFF:x}"
            live["status"] = {
                "observedGeneration": live["metadata"]["generation"],
                "updateRevision": revision,
            }
            wanted = live["spec"]["replicas"]
            rolls = live["spec"]["updateStrategy"]["type"] == "RollingUpdate"
            for index in range(wanted):
                pod = self.pods.get(f"{name}-{index}")
                labels = {} if pod is None else pod["metadata"]["labels"]
                old = labels.get("controller-revision-hash") != revision
                if pod is None or (old and rolls):
                    self.pods[f"{name}-{index}"] = self._pod(live, name, index, revision)
            for key, pod in list(self.pods.items()):
                (owner,) = pod["metadata"]["ownerReferences"]
                if owner["name"] == name and int(key.rpartition("-")[2]) >= wanted:
                    del self.pods[key]

    def _end_pods(self, workload: Object) -> None:
        for key, pod in list(self.pods.items()):
            (owner,) = pod["metadata"]["ownerReferences"]
            if owner["uid"] == workload["metadata"]["uid"]:
                del self.pods[key]

    def _node_for(self, index: int) -> str:
        """One without a pod of ours, where there is one."""
        names = [node["metadata"]["name"] for node in self.nodes]
        taken = {pod["spec"].get("nodeName") for pod in self.pods.values()}
        return next((name for name in names if name not in taken), names[index % len(names)])

    def _pod(self, live: Object, name: str, index: int, revision: str) -> Object:
        self._count += 1
        template = copy.deepcopy(live["spec"]["template"])
        owner = {
            "kind": "StatefulSet",
            "name": name,
            "uid": live["metadata"]["uid"],
            "controller": True,
        }
        pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-{index}",
                "namespace": live["metadata"]["namespace"],
                "uid": f"uid-{self._count}",
                "labels": template["metadata"]["labels"] | {"controller-revision-hash": revision},
                "annotations": template["metadata"].get("annotations", {}),
                "ownerReferences": [owner],
            },
            "spec": template["spec"] | {"nodeName": self._node_for(index)},
            "status": {},
        }
        set_ready(pod, self.pods_become_ready, self.now)
        return pod


def check_reasons(status: Object) -> None:
    """Every condition has a reason that docs/conditions.md lists for it, and a message."""
    for condition in status["conditions"]:
        where = Reason[condition["reason"]].condition
        derived = condition["type"] in ("WorkspaceReady", "WorkspaceSucceeded")
        listed = where.startswith("all") or where.endswith("all others")
        assert derived or listed or condition["type"] in where.split(", "), condition
        assert 0 < len(condition["message"]) <= 32768


def set_ready(pod: Object, ready: bool, now: datetime = NOW) -> None:
    """Running; answering, or still loading."""
    status = {"name": "model", "restartCount": 0, "ready": ready, "started": ready}
    pod["status"] = {
        "phase": "Running",
        "startTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [status | {"state": {"running": {}}}],
    }


def crash(pod: Object, *, reason: str = "Error", code: int = 1, words: str = "") -> None:
    """CrashLoopBackOff, with how it last ended. The Ready condition stays as it was."""
    ended = {"exitCode": code, "reason": reason, "message": words}
    pod["status"]["containerStatuses"] = [
        {
            "name": "model",
            "restartCount": 3,
            "ready": False,
            "started": False,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": ended},
        }
    ]


def _defaulted(wanted: Object) -> Object:
    """Some of what the API server fills in."""
    made = copy.deepcopy(wanted)
    if made["kind"] == "Service":
        made["spec"].setdefault("sessionAffinity", "None")
        made["spec"].setdefault("clusterIP", "10.0.0.7")
    if made["kind"] == "StatefulSet":
        made["spec"]["template"]["spec"].setdefault("dnsPolicy", "ClusterFirst")
        made["spec"]["template"]["spec"].setdefault("restartPolicy", "Always")
        for container in made["spec"]["template"]["spec"]["containers"]:
            container.setdefault("terminationMessagePath", "/dev/termination-log")
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe in container:
                    container[probe].setdefault("successThreshold", 1)
    made["metadata"]["managedFields"] = [{"manager": "berth"}]
    return made
