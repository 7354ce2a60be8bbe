"""Scheduler and kubelet: a pod finds a node, and on it lives by its fate until it is deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from berth.cluster.quantity import parse_quantity
from berth.controller.kinds import NODE, POD, Object
from controller.simulator.reports import condition, warn
from controller.simulator.scheduling import request, suits
from controller.simulator.server import Server
from controller.simulator.stateful_sets import delete_pod
from controller.simulator.timers import Timers

Fate = Literal["ready", "crash", "oom", "pull", "slow"]
GPU = "nvidia.com/gpu"

# Seconds.
_BIND, _PULL, _LOAD, _KILL = 1.0, 3.0, 20.0, 2.0
_RESTART = 10.0  # after a crash; doubles up to five minutes


@dataclass(frozen=True, slots=True)
class Kubelet:
    """Every node's, and the scheduler.

    Args:
        fate: what becomes of a pod once it is on a node.
        acts: whether pods on nodes come to life and end by themselves.
    """

    server: Server
    timers: Timers
    fate: Callable[[Object], Fate]
    acts: bool

    def run(self, pod: Object) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            if self.timers.passed(pod, "kill", _KILL) and (self.acts or not _node_of(pod)):
                free = {**pod["metadata"], "finalizers": []}
                self.server.replace(POD, {**pod, "metadata": free}, "kubelet")
            return
        node = pod["spec"].get("nodeName")
        if not node:
            self._schedule(pod)
        elif self.server.find(NODE, None, node) is None:
            delete_pod(self.server, pod)
        elif self.acts:
            self._live(pod)

    def _schedule(self, pod: Object) -> None:
        if not self.timers.passed(pod, "bind", _BIND):
            return
        nodes = self.server.search(NODE)
        for node in nodes:
            if not suits(node, pod) or not self._has_room(node, pod):
                continue
            bound = {**pod, "spec": {**pod["spec"], "nodeName": node["metadata"]["name"]}}
            self.server.replace(POD, bound, "kube-scheduler")
            self.server.set_status(POD, pod, conditions=[condition("PodScheduled", True)])
            return
        message = f"0/{len(nodes)} nodes are available: {len(nodes)} Insufficient {GPU}."
        refused = condition("PodScheduled", False, "Unschedulable", message)
        self.server.set_status(POD, pod, phase="Pending", conditions=[refused])
        warn(self.server, pod, "FailedScheduling", message)

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
        if not self.timers.passed(pod, "pull", _PULL):
            return
        fate = self.fate(pod)
        if fate == "pull":
            message = "Back-off pulling image: ErrImagePull: manifest unknown"
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
            self._report(pod, "Pending", ready=False, state=waiting)
            warn(self.server, pod, "Failed", message)
        elif fate == "slow":
            self._report(pod, "Running", ready=False, state={"running": {}})
        elif fate == "ready":
            ready = self.timers.passed(pod, f"load-{self._restarts(pod)}", _LOAD)
            self._report(pod, "Running", ready=ready, state={"running": {}})
        else:
            self._crash(pod, fate)

    def _crash(self, pod: Object, fate: Fate) -> None:
        """Ends after a while, again and again, ever later."""
        times = self._restarts(pod)
        if times and not self.timers.passed(pod, f"restart-{times}", min(300, _RESTART * 2**times)):
            return
        reason, code = ("OOMKilled", 137) if fate == "oom" else ("Error", 1)
        ended = {"terminated": {"reason": reason, "exitCode": code}}
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting"}}
        self._report(pod, "Running", ready=False, state=waiting, last=ended, restarts=times + 1)
        self.timers.passed(pod, f"restart-{times + 1}", min(300, _RESTART * 2 ** (times + 1)))
        warn(self.server, pod, "BackOff", "Back-off restarting failed container")

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
                condition("PodScheduled", True),
                condition("ContainersReady", ready),
                condition("Ready", ready, "" if ready else "ContainersNotReady"),
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


def _node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName") or "")
