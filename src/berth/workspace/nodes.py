"""Nodes and pods as the API server has them, to what berth.fit.placement asks about.

The same as berth.cluster.nodes does for the client's objects, here for plain ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from berth.cluster.quantity import parse_quantity, pod_total
from berth.fit.placement import GPU_RESOURCE, Node, Taint, Toleration
from berth.workspace.fields import Json, condition, flag, items, mapping, name_of, text, words
from berth.workspace.names import NAMESPACE_LABEL, WORKSPACE_LABEL, label_value

# No machine has more; a node that says so must not keep fit busy with its layouts.
_MOST_GPUS = 256
_LONGEST_LABEL = 63


def read_nodes(
    nodes: Iterable[Json], pods: Iterable[Json], *, namespace: str, workspace: str, own: set[str]
) -> list[Node]:
    """The nodes that this Workspace may use, in the order of their names.

    A node that was made for another Workspace is that one's, whatever labels it has.

    Args:
        own: uids of this Workspace's pods, which take nothing of what is asked for.
    """
    gpus: dict[str, int] = defaultdict(int)
    memory: dict[str, int] = defaultdict(int)
    for pod in pods:
        where = text(pod, "spec", "nodeName")
        ended = text(pod, "status", "phase") in ("Succeeded", "Failed")
        if where and not ended and text(pod, "metadata", "uid") not in own:
            gpus[where] += request(pod, GPU_RESOURCE)
            memory[where] += request(pod, "memory")
    found = [
        _node(node, gpus[name_of(node)], memory[name_of(node)])
        for node in nodes
        if name_of(node) and _free_for(node, namespace, workspace)
    ]
    return sorted(found, key=lambda node: node.name)


def request(pod: Json, resource: str) -> int:
    """What the scheduler counts for a pod."""
    return pod_total(
        (_request_of(container, resource) for container in items(pod, "spec", "containers")),
        (
            (_request_of(one, resource), text(one, "restartPolicy") == "Always")
            for one in items(pod, "spec", "initContainers")
        ),
    )


def is_ready(node: Json) -> bool:
    """Whether the kubelet says so."""
    return text(condition(node, "Ready"), "status") == "True"


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


def quantity(value: object) -> int | None:
    """Whole units of a quantity; None for what is none, or below 0."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        found = parse_quantity(str(value)[:40])
    except ValueError:
        return None
    return found if found >= 0 else None


def _request_of(container: Json, resource: str) -> int:
    """A limit without a request is a request."""
    for given in ("requests", "limits"):
        found = mapping(container, "resources", given)
        if resource in found:
            return quantity(found[resource]) or 0
    return 0


def _free_for(node: Json, namespace: str, workspace: str) -> bool:
    labels = words(node, "metadata", "labels")
    owner, home = labels.get(WORKSPACE_LABEL), labels.get(NAMESPACE_LABEL)
    if owner is None or home is None:
        return True
    return owner == label_value(workspace) and home == label_value(namespace)


def _node(node: Json, gpus: int, memory: int) -> Node:
    allocatable = mapping(node, "status", "allocatable")
    offered = quantity(allocatable.get(GPU_RESOURCE))
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
        gpus_allocatable=None if offered is None else min(offered, _MOST_GPUS),
        gpus_requested=min(gpus, _MOST_GPUS),
        memory_allocatable=quantity(allocatable.get("memory")) or 0,
        memory_requested=memory,
    )
