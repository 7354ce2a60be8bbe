"""Where a pod of the Workspace's own can go: only what it says itself is counted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from berth.cluster.fields import mapping
from berth.cluster.nodes import CPU, request, tolerations
from berth.cluster.quantity import milli_quantity
from berth.fit.placement import DEFAULT_TOLERATIONS, GPU_RESOURCE, Node, Toleration
from berth.workspace.names import INSTANCE_TYPE
from berth.workspace.placing import Room, Unplaced, of_type
from berth.workspace.reasons import Reason
from berth.workspace.shape import Shape
from berth.workspace.spec import Spec

_MOST = 12  # nodes in one message


def template_shape(spec: Spec) -> Shape:
    """As many pods as nodes, each with what its containers request."""
    pod = {"spec": mapping(spec.template, "spec")}
    gpus = request(pod, GPU_RESOURCE)
    return Shape(
        device="gpu" if gpus else "cpu",
        gpus=gpus,
        memory=request(pod, "memory"),
        milli_cpus=request(pod, CPU, milli_quantity),
    )


def room_for_template(spec: Spec, nodes: Sequence[Node]) -> Room | Unplaced:
    """The nodes that match, are well, and have what the pod requests."""
    shape = template_shape(spec)
    tolerated = _tolerated(spec)
    matching = _matching(spec, nodes)
    if not matching:
        wanted = ",".join(f"{key}={value}" for key, value in spec.selector.items()) or "any"
        kind = f" and instance type {spec.instance_type}" if spec.instance_type else ""
        return _none(
            Reason.NoMatchingNode if nodes else Reason.NoNodes,
            f"None of {len(nodes)} nodes has the labels {wanted}{kind}.",
        )
    good: list[Node] = []
    refused: list[tuple[Reason, str]] = []
    for node in matching:
        found = _refusal(node, shape, tolerated)
        if found is None:
            good.append(node)
        else:
            refused.append((found[0], f"node {node.name}: {found[1]}"))
    room = len(good)  # each pod gets a node of its own
    if room >= spec.count:
        if spec.instance_type:
            types = tuple(sorted({node.labels[INSTANCE_TYPE] for node in good}))
            shape = msgspec.structs.replace(shape, instance_types=types)
        wanted_first = sorted(good, key=lambda node: node.name not in spec.preferred_nodes)
        return Room(shape=shape, nodes=tuple(node.name for node in wanted_first))
    lines = [line for _, line in refused[:_MOST]]
    if good:
        lines.insert(
            0, f"There is room for {room} of {spec.count} pods, each on a node of its own."
        )
        return _none(Reason.TooFewNodes, "\n".join(lines))
    return _none(refused[0][0], "\n".join(lines))


def usable_for_template(spec: Spec, nodes: Sequence[Node]) -> int:
    """How many of the nodes can each take one of the pods now."""
    shape = template_shape(spec)
    tolerated = _tolerated(spec)
    return sum(1 for node in _matching(spec, nodes) if _refusal(node, shape, tolerated) is None)


def _tolerated(spec: Spec) -> tuple[Toleration, ...]:
    return (*DEFAULT_TOLERATIONS, *tolerations(mapping(spec.template, "spec")))


def _matching(spec: Spec, nodes: Sequence[Node]) -> list[Node]:
    return [
        node
        for node in nodes
        if of_type(node, spec.instance_type)
        and all(node.labels.get(key) == value for key, value in spec.selector.items())
    ]


def _refusal(
    node: Node, shape: Shape, tolerated: tuple[Toleration, ...]
) -> tuple[Reason, str] | None:
    if not node.ready:
        return Reason.NodeNotReady, "the node is not Ready"
    if node.cordoned:
        return Reason.NodeCordoned, "the node is cordoned"
    for taint in node.taints:
        hard = taint.effect in ("NoSchedule", "NoExecute")
        if hard and not any(one.tolerates(taint) for one in tolerated):
            return Reason.NodeTainted, f"taint {taint.key}:{taint.effect} is not tolerated"
    if shape.gpus > (node.gpus_allocatable or 0):
        return Reason.NoGpuNode, f"the node offers {node.gpus_allocatable or 0} GPUs"
    if _pods_on(node, shape) < 1:
        return Reason.NodesTaken, "other pods hold its GPUs, CPUs or memory"
    return None


def _pods_on(node: Node, shape: Shape) -> int:
    """How many of the pods have room on this node."""
    free = node.memory_allocatable - node.memory_requested
    by_memory = free // shape.memory if shape.memory else 110  # pods that a kubelet takes
    cpus = node.milli_cpus_free
    if cpus is not None and cpus < shape.milli_cpus:
        return 0
    if not shape.gpus:
        return max(by_memory, 0)
    gpus = (node.gpus_allocatable or 0) - node.gpus_requested
    return max(min(gpus // shape.gpus, by_memory), 0)


def _none(reason: Reason, message: str) -> Unplaced:
    return Unplaced(reason=reason, message=message, fits="Unknown")
