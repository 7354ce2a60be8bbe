"""Clusters that have come to rest, and what is in them then."""

from __future__ import annotations

from typing import Any

from workspace.worlds import Cluster, Object, gpu_node, workspace

A100 = ("NVIDIA-A100-SXM4-80GB", 81920)
CPU: dict[str, Any] = {"labelSelector": {"matchLabels": {"pool": "cpu"}}}


def settled(ws: Object, nodes: list[Object], **rest: Any) -> Cluster:
    cluster = Cluster(ws, nodes, **rest)
    cluster.settle()
    return cluster


def running(**changes: Any) -> Cluster:
    """A Workspace that serves, on one L4."""
    cluster = Cluster(workspace(**changes), [gpu_node()])
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    return cluster


def group() -> Cluster:
    """A 70B model over two nodes of one A100 each."""
    nodes = [gpu_node("a", 1, *A100), gpu_node("b", 1, *A100)]
    cluster = Cluster(workspace("llama-2-70b-chat", count=2), nodes)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    return cluster


def kinds(cluster: Cluster) -> list[str]:
    return sorted(kind for kind, _ in cluster.children)


def container(cluster: Cluster) -> Object:
    found: Object = cluster.child("StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    return found
