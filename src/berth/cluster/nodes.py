"""Nodes and pods as the API server has them, to what berth.fit.placement asks about. Pure.

Lenient, for the planner has to live with what is there: what is no quantity counts as none.
A caller that has to report it asks `unreadable` first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from berth.cluster.fields import Json, condition, flag, items, mapping, name_of, text, words
from berth.cluster.quantity import milli_quantity, quantity
from berth.fit.placement import GPU_RESOURCE, Node, Taint, Toleration

CPU, _MEMORY = "cpu", "memory"
_GIVEN = ("requests", "limits")  # a limit without a request is a request
_LONGEST_LABEL = 63


def placement_nodes(nodes: Iterable[Json], pods: Iterable[Json]) -> list[Node]:
    """The nodes, each with the sum of what the living ones of these pods request on it."""
    gpus: dict[str, int] = defaultdict(int)
    memory: dict[str, int] = defaultdict(int)
    cpus: dict[str, int] = defaultdict(int)
    for pod in pods:
        where = text(pod, "spec", "nodeName")
        if where and text(pod, "status", "phase") not in ("Succeeded", "Failed"):
            gpus[where] += request(pod, GPU_RESOURCE)
            memory[where] += request(pod, _MEMORY)
            cpus[where] += request(pod, CPU, milli_quantity)
    return [
        _node(one, gpus[name], memory[name], cpus[name]) for one in nodes if (name := name_of(one))
    ]


def request(pod: Json, resource: str, read: Callable[[object], int | None] = quantity) -> int:
    """What the scheduler counts for a pod: its containers together, or its largest init one.

    An init container that stays (restartPolicy Always, a sidecar) counts with the containers.

    Args:
        read: a quantity in the unit that is wanted.
    """
    sidecars = largest = 0
    for one in items(pod, "spec", "initContainers"):
        size = _request_of(one, resource, read)
        if text(one, "restartPolicy") == "Always":
            sidecars += size
        else:
            largest = max(largest, sidecars + size)
    running = sum(_request_of(one, resource, read) for one in items(pod, "spec", "containers"))
    return max(sidecars + running, largest)


def tolerations(pod_spec: Json) -> tuple[Toleration, ...]:
    """Of a pod template."""
    return tuple(
        Toleration(
            text(one, "key"),
            text(one, "operator") or "Equal",
            text(one, "value"),
            text(one, "effect"),
        )
        for one in items(pod_spec, "tolerations")
    )


def is_ready(node: Json) -> bool:
    """Whether the kubelet says so."""
    return text(condition(node, "Ready"), "status") == "True"


def unreadable(obj: Json) -> str:
    """What a node or pod says of GPUs or memory that is no quantity; "" if all can be read."""
    containers = (*items(obj, "spec", "containers"), *items(obj, "spec", "initContainers"))
    said = [mapping(obj, "status", "allocatable")]
    said += [mapping(one, "resources", kind) for one in containers for kind in _GIVEN]
    for sizes in said:
        for resource in (GPU_RESOURCE, _MEMORY):
            if resource in sizes and quantity(sizes[resource]) is None:
                return f"{resource} is {sizes[resource]!r}, which is no Kubernetes quantity"
    return ""


def _request_of(container: Json, resource: str, read: Callable[[object], int | None]) -> int:
    for given in _GIVEN:
        found = mapping(container, "resources", given)
        if resource in found:
            return read(found[resource]) or 0
    return 0


def _node(node: Json, gpus: int, memory: int, milli_cpus: int) -> Node:
    allocatable = mapping(node, "status", "allocatable")
    labels = words(node, "metadata", "labels")
    return Node(
        name=name_of(node),
        labels={key: value for key, value in labels.items() if len(value) <= _LONGEST_LABEL},
        taints=tuple(
            Taint(text(one, "key"), text(one, "value"), text(one, "effect"))
            for one in items(node, "spec", "taints")
        ),
        ready=is_ready(node),
        cordoned=flag(node, "spec", "unschedulable"),
        gpus_allocatable=quantity(allocatable.get(GPU_RESOURCE)),
        gpus_requested=gpus,
        memory_allocatable=quantity(allocatable.get(_MEMORY)) or 0,
        memory_requested=memory,
        milli_cpus_allocatable=milli_quantity(allocatable.get(CPU)),
        milli_cpus_requested=milli_cpus,
    )
