"""Workspaces and nodes for the scenarios, and what users do to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from berth.controller.kinds import NODE, WORKSPACE, Kind
from berth.presets.catalogue import Preset, load_presets
from controller.simulator.reports import make_node

if TYPE_CHECKING:
    from controller.simulator.simulation import Simulation

NAMESPACE = "models"
A100 = "Standard_NC24ads_A100_v4"

Step = Callable[["Simulation"], None]

# As GPU Feature Discovery and a device plugin leave a node of this type.
MACHINES: Mapping[str, Mapping[str, Any]] = {
    A100: {
        "labels": {
            "kubernetes.io/arch": "amd64",
            "nvidia.com/gpu.product": "NVIDIA-A100-80GB-PCIe",
            "nvidia.com/gpu.count": "1",
            "nvidia.com/gpu.memory": "81920",
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.compute.major": "8",
            "nvidia.com/gpu.compute.minor": "0",
        },
        "allocatable": {
            "cpu": "23",
            "memory": "220Gi",
            "ephemeral-storage": "900Gi",
            "nvidia.com/gpu": "1",
        },
    }
}


@cache
def presets() -> dict[str, Preset]:
    return load_presets()


def workspace(
    name: str = "llama",
    *,
    preset: str | None = "llama-2-7b-chat",
    labels: Mapping[str, str] | None = None,
    image: str = "registry.example.com/llama:1",
    **resource: Any,
) -> dict[str, Any]:
    """A Workspace as a user applies it."""
    inference: dict[str, Any] = {}
    if preset is not None:
        inference["preset"] = {"name": preset, "accessMode": "public"}
        if image:
            inference["preset"]["accessMode"] = "private"
            inference["preset"]["presetOptions"] = {"image": image}
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "resource": {
            "count": 1,
            "labelSelector": {"matchLabels": dict(labels or {"pool": "gpu"})},
            **resource,
        },
        "inference": inference,
    }


def gpu_node(name: str = "gpu-1") -> dict[str, Any]:
    machine = MACHINES[A100]
    labels = {**machine["labels"], "pool": "gpu", "node.kubernetes.io/instance-type": A100}
    return make_node(name, labels, machine["allocatable"])


def cpu_node(name: str = "cpu-1") -> dict[str, Any]:
    allocatable = {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "90Gi"}
    return make_node(name, {"kubernetes.io/arch": "amd64", "pool": "cpu"}, allocatable)


# Steps


def together(*steps: Step) -> Step:
    def act(sim: Simulation) -> None:
        for step in steps:
            step(sim)

    return act


def create(kind: Kind, obj: Mapping[str, Any]) -> Step:
    return lambda sim: _ignore(sim.server.create(kind, obj))


def create_node(node: Mapping[str, Any]) -> Step:
    return create(NODE, node)


def create_workspace(obj: Mapping[str, Any]) -> Step:
    return create(WORKSPACE, obj)


def edit(kind: Kind, namespace: str | None, name: str, patch: Mapping[str, Any]) -> Step:
    """As kubectl edit: the changed fields are the user's from then on."""
    return _once_there(
        kind, namespace, name, lambda sim: _ignore(sim.server.merge(kind, namespace, name, patch))
    )


def delete(kind: Kind, namespace: str | None, name: str) -> Step:
    return _once_there(
        kind, namespace, name, lambda sim: _ignore(sim.server.delete(kind, namespace, name))
    )


def _once_there(kind: Kind, namespace: str | None, name: str, act: Step) -> Step:
    """A user who finds nothing to act on looks again, so that the story stays the same one."""

    def step(sim: Simulation) -> None:
        if sim.server.find(kind, namespace, name) is None:
            sim.at(sim.now + 1, step, sim)
        else:
            act(sim)

    return step


def _ignore(_: object) -> None:
    """Steps return nothing."""
