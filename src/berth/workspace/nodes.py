"""The nodes that a Workspace may use: whose a node is, and which pods are its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from berth.cluster.fields import Json, uid_of, words
from berth.cluster.nodes import placement_nodes
from berth.fit.placement import Node
from berth.workspace.names import NAMESPACE_LABEL, WORKSPACE_LABEL, label_value

# No machine has more; a node that says so must not keep fit busy with its layouts.
_MOST_GPUS = 256


def read_nodes(
    nodes: Iterable[Json], pods: Iterable[Json], *, namespace: str, workspace: str, own: set[str]
) -> list[Node]:
    """The nodes that this Workspace may use, in the order of their names.

    A node that was made for another Workspace is that one's, whatever labels it has.

    Args:
        own: uids of this Workspace's pods, which take nothing of what is asked for.
    """
    found = placement_nodes(
        (node for node in nodes if _free_for(node, namespace, workspace)),
        (pod for pod in pods if uid_of(pod) not in own),
    )
    return sorted((_bounded(node) for node in found), key=lambda node: node.name)


def _free_for(node: Json, namespace: str, workspace: str) -> bool:
    labels = words(node, "metadata", "labels")
    owner, home = labels.get(WORKSPACE_LABEL), labels.get(NAMESPACE_LABEL)
    if owner is None or home is None:
        return True
    return owner == label_value(workspace) and home == label_value(namespace)


def _bounded(node: Node) -> Node:
    offered = node.gpus_allocatable
    return replace(
        node,
        gpus_allocatable=None if offered is None else min(offered, _MOST_GPUS),
        gpus_requested=min(node.gpus_requested, _MOST_GPUS),
    )
