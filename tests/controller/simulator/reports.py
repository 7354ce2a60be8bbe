"""What the machinery reports: conditions, a pod's readiness, a Node as it begins, warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.controller.kinds import EVENT, Object
from berth.workspace.names import digest
from controller.simulator.server import Server


def condition(kind: str, status: bool, reason: str = "", message: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"type": kind, "status": "True" if status else "False"}
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return found


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


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
            "conditions": [condition("Ready", ready)],
        },
    }


def warn(
    server: Server, obj: Object, reason: str, message: str, namespace: str | None = None
) -> None:
    m = obj["metadata"]
    where = namespace or m["namespace"]
    name = f"{m['name']}.{digest(m['uid'] + reason + message)}"
    known = server.find(EVENT, where, name)
    if known is not None:
        return
    server.create(
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
            "lastTimestamp": server.stamp(),
        },
        manager="kubelet",
    )
