"""What else runs in a cluster: garbage collector, StatefulSet controller, scheduler, kubelet,
Karpenter. They share nothing but the server's state; they act at once and wait by the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from berth.controller.kinds import (
    CHILDREN,
    EVENT,
    NODE_CLAIM,
    POD,
    STATEFUL_SET,
    WORKSPACE,
    Object,
)
from controller.simulator.karpenter import Karpenter, Launch
from controller.simulator.kubelet import Fate, Kubelet
from controller.simulator.server import Change, Server
from controller.simulator.stateful_sets import delete_pod, scale
from controller.simulator.timers import Timers


class Cluster:
    """The machinery around the API server.

    Args:
        fate: what becomes of a pod once it is on a node.
        launch: what becomes of a NodeClaim.
        machines: by instance type, the labels and what may be allocated of such a node.
        kubelet: whether pods on nodes come to life and end by themselves.
    """

    def __init__(
        self,
        server: Server,
        clock: Callable[[], float],
        *,
        fate: Callable[[Object], Fate] = lambda pod: "ready",
        launch: Callable[[Object], Launch] = lambda claim: "ready",
        machines: Mapping[str, Mapping[str, Any]] | None = None,
        kubelet: bool = True,
    ) -> None:
        self.server = server
        self.dirty = True
        self.frozen = False  # nobody acts
        self._timers = Timers(clock)
        self._kubelet = Kubelet(server, self._timers, fate, kubelet)
        self._karpenter = Karpenter(server, self._timers, launch, machines or {})

    def saw(self, change: Change) -> None:
        if change.kind != EVENT:
            self.dirty = True

    def step(self) -> None:
        """Let everyone act until nobody has anything to do at this moment."""
        if self.frozen:
            self.dirty = False
            return
        if self._timers.ring():
            self.dirty = True
        while self.dirty:
            self.dirty = False
            self._empty_namespaces()
            self._collect()
            for claim in self.server.objects[NODE_CLAIM].copy().values():
                self._karpenter.provision(claim)
            for workload in self.server.objects[STATEFUL_SET].copy().values():
                scale(self.server, workload)
            for pod in self.server.objects[POD].copy().values():
                self._kubelet.run(pod)

    def next_at(self) -> float | None:
        return None if self.frozen else self._timers.next_at()

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
                    delete_pod(self.server, obj) if kind == POD else self.server.delete(
                        kind, obj["metadata"]["namespace"], obj["metadata"]["name"]
                    )
