"""Karpenter: a NodeClaim becomes a node, step by step, or the cloud has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from berth.controller.kinds import NODE, NODE_CLAIM, Object
from controller.simulator.reports import condition, make_node, warn
from controller.simulator.server import Server
from controller.simulator.timers import Timers

Launch = Literal["ready", "no_capacity", "stuck"]

# Seconds.
_LAUNCH, _REGISTER, _INITIALIZE, _TERMINATE = 5.0, 40.0, 60.0, 10.0


@dataclass(frozen=True, slots=True)
class Karpenter:
    """One cloud.

    Args:
        launch: what becomes of a NodeClaim.
        machines: by instance type, the labels and what may be allocated of such a node.
    """

    server: Server
    timers: Timers
    launch: Callable[[Object], Launch]
    machines: Mapping[str, Mapping[str, Any]]

    def provision(self, claim: Object) -> None:
        name = claim["metadata"]["name"]
        held = "karpenter.sh/termination"
        if "deletionTimestamp" in claim["metadata"]:
            if self.timers.passed(claim, "terminate", _TERMINATE):
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
        if fate == "stuck" or not self.timers.passed(claim, "launch", _LAUNCH):
            return
        if fate == "no_capacity":
            message = "all requested instance types were unavailable during launch"
            refused = condition("Launched", False, "InsufficientCapacityError", message)
            not_ready = condition("Ready", False, "NotReady", "Launched=False")
            self.server.set_status(NODE_CLAIM, claim, conditions=[refused, not_ready])
            warn(self.server, claim, "InsufficientCapacityError", message, namespace="default")
            self.server.delete(NODE_CLAIM, None, name)  # as Karpenter does
            return
        registered = self.timers.passed(claim, "register", _REGISTER)
        ready = self.timers.passed(claim, "initialize", _INITIALIZE)
        if registered and self.server.find(NODE, None, name) is None:
            self.server.create(NODE, self._node(claim), "karpenter")
        if ready:
            node = self.server.find(NODE, None, name)
            assert node is not None
            self.server.set_status(NODE, node, conditions=[condition("Ready", True)])
        self.server.set_status(
            NODE_CLAIM,
            claim,
            providerID=f"cloud:///{name}",
            **({"nodeName": name} if registered else {}),
            conditions=[
                condition("Launched", True, "Launched"),
                condition("Registered", registered),
                condition("Initialized", ready),
                condition("Ready", ready),
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
