"""The nodes that berth plan looks at if there is no cluster: those of an instance type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.fit.machines import Machine, label_memory
from berth.fit.placement import COUNT, GPU_RESOURCE, MEMORY, PRODUCT
from berth.workspace.names import HOSTNAME, INSTANCE_TYPE
from berth.workspace.types import Workspace

_RAM_SHARE = 0.98  # of a size table's number; the kernel keeps the rest
_RAM_OF_OWN = 2  # times the GPUs' memory, unless the hardware's is given


def nodes_of(workspace: Workspace, machine: Machine) -> tuple[dict[str, Any], ...]:
    """As many nodes of this machine as the Workspace asks for: ready, empty, with its labels."""
    return tuple(
        _node(f"node-{number}", machine, workspace.resource.label_selector.labels)
        for number in range(1, workspace.resource.count + 1)
    )


def _node(name: str, machine: Machine, selected: Mapping[str, str]) -> dict[str, Any]:
    gpus = machine.count if machine.device.kind == "gpu" else 0
    labels = {HOSTNAME: name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    if machine.cloud is not None:
        labels[INSTANCE_TYPE] = machine.name
    allocatable = {"memory": str(_memory(machine)), "pods": "110"}
    if gpus:
        allocatable[GPU_RESOURCE] = str(gpus)
        labels[PRODUCT] = machine.device.product
        labels[COUNT] = str(gpus)
        labels[MEMORY] = str(label_memory(machine.device.product))
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": name, "labels": {**labels, **selected}},
        "spec": {},
        "status": {
            "allocatable": allocatable,
            "capacity": allocatable,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _memory(machine: Machine) -> int:
    """Allocatable RAM in bytes."""
    if machine.device.kind == "cpu":
        return machine.device.total
    if machine.host_memory is not None:
        return int(machine.host_memory * _RAM_SHARE)
    return _RAM_OF_OWN * machine.count * machine.device.total
