"""Whether a cluster's nodes, as they are now, can take a model. Pure: nodes in, reasons out.

Labels are those of GPU Feature Discovery and the NVIDIA operator (nvidia.com/gpu.product, .count,
.memory, .replicas, .present) and of Node Feature Discovery (pci-10de: NVIDIA's vendor id).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from berth.fit.machines import Device, Machine, UnknownMachine, gpu_by_label, ram, sku
from berth.fit.request import FitInputError, FitRequest
from berth.fit.solve import fit
from berth.fit.units import human, unlike
from berth.fit.verdict import Verdict

GPU_RESOURCE = "nvidia.com/gpu"
PRODUCT, COUNT, MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.count", "nvidia.com/gpu.memory"
REPLICAS, PRESENT = "nvidia.com/gpu.replicas", "nvidia.com/gpu.present"
_PCI_VENDOR = "10de"
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"

ReasonCode = Literal[
    "no nodes",
    "no GPU node",
    "label selector",
    "not ready",
    "cordoned",
    "taint",
    "device plugin",
    "unknown GPU",
    "too few GPUs",
    "GPUs taken",
    "CPUs taken",
    "does not fit",
    "engine",
    "too few nodes",
]


@dataclass(frozen=True, slots=True)
class Taint:
    """One taint of a node."""

    key: str
    value: str
    effect: str  # NoSchedule, PreferNoSchedule, NoExecute


@dataclass(frozen=True, slots=True)
class Toleration:
    """One toleration of the pods to be placed, as in a PodSpec."""

    key: str = ""  # empty with operator Exists: all
    operator: str = "Equal"
    value: str = ""
    effect: str = ""  # empty: all

    def tolerates(self, taint: Taint) -> bool:
        """Kubernetes' rule."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.operator == "Exists":
            return not self.key or self.key == taint.key
        return self.key == taint.key and self.value == taint.value


# What every GPU workload of ours carries; clouds taint their GPU pools so.
DEFAULT_TOLERATIONS = (
    Toleration("nvidia.com/gpu", "Exists"),
    Toleration("sku", "Equal", "gpu", "NoSchedule"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node as the API server tells of it. Memory in bytes."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    cordoned: bool = False
    gpus_allocatable: int | None = None  # None: the node has no such resource
    gpus_requested: int = 0  # by the pods that are there
    memory_allocatable: int = 0
    memory_requested: int = 0
    milli_cpus_allocatable: int | None = None  # thousandths of a CPU; None: the node does not say
    milli_cpus_requested: int = 0

    @property
    def milli_cpus_free(self) -> int | None:
        """What the scheduler still gives away; None: not known."""
        if self.milli_cpus_allocatable is None:
            return None
        return max(self.milli_cpus_allocatable - self.milli_cpus_requested, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a node, or the whole cluster (node None), cannot take it."""

    code: ReasonCode
    text: str
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The answer. `nodes` are those that can take it now, the best first."""

    placed: bool
    nodes: tuple[str, ...]
    reasons: tuple[Reason, ...]
    verdict: Verdict | None = None  # of the best node, or of the one that came nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRequest:
    """What is to be placed: `ask(machine)` is the question of fit for one machine."""

    ask: Callable[[Machine], FitRequest]
    name: str
    nodes: int = 1
    selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...] = DEFAULT_TOLERATIONS
    cpu: bool = False  # on nodes' RAM; GPUs are not looked at
    # What the pod requests, if that is fixed; None: as much of a node as the model needs.
    gpus: int | None = None
    memory: int | None = None  # bytes; only with cpu
    milli_cpus: int = 0  # that the pod requests


@lru_cache(maxsize=512)
def cached_fit(request: FitRequest) -> Verdict:
    """`fit`, which a controller asks the same of node after node and look after look."""
    return fit(request)


def place(nodes: Sequence[Node], request: PlacementRequest) -> Placement:
    """Which nodes can take the model now, and if too few, what is missing."""
    if not nodes:
        return _nowhere(Reason(code="no nodes", text="the cluster has no nodes"))
    chosen = [node for node in nodes if _selected(node, request.selector)]
    if not chosen:
        return _nowhere(_no_match(nodes, request.selector))
    if not request.cpu and not any(_has_gpus(node) for node in chosen):
        among = "the nodes that the label selector matches" if request.selector else "all nodes"
        text = f"no GPU node: of {among} ({len(chosen)}) none has GPUs or their labels"
        return _nowhere(Reason(code="no GPU node", text=text))
    good: list[tuple[Node, Verdict]] = []
    reasons: list[Reason] = []
    nearest: Verdict | None = None
    for node in chosen:
        found = _look_at(node, request)
        if isinstance(found, Reason):
            reasons.append(found)
            continue
        verdict, reason = found
        if reason is None:
            good.append((node, verdict))
        else:
            reasons.append(reason)
            nearest = nearest or verdict
    good.sort(key=lambda pair: _fullness(pair[0], pair[1]))
    names = tuple(node.name for node, _ in good)
    if len(good) >= request.nodes:
        return Placement(placed=True, nodes=names, reasons=tuple(reasons), verdict=good[0][1])
    if good:
        text = f"{request.nodes} nodes are needed, and {len(good)} can take it now"
        reasons.insert(0, Reason(code="too few nodes", text=text))
        nearest = good[0][1]
    return Placement(placed=False, nodes=names, reasons=tuple(reasons), verdict=nearest)


def _nowhere(reason: Reason) -> Placement:
    return Placement(placed=False, nodes=(), reasons=(reason,))


def _selected(node: Node, selector: Mapping[str, str]) -> bool:
    return all(node.labels.get(key) == value for key, value in selector.items())


def _no_match(nodes: Sequence[Node], selector: Mapping[str, str]) -> Reason:
    wanted = ",".join(f"{key}={value}" for key, value in selector.items())
    found = [
        f"{key} is {', '.join(sorted({n.labels[key] for n in nodes if key in n.labels}))}"
        if any(key in node.labels for node in nodes)
        else f"no node has the label {key}"
        for key in selector
    ]
    text = f"label selector {wanted} matches none of {len(nodes)} nodes; {'; '.join(found)}"
    return Reason(code="label selector", text=text)


def _has_gpus(node: Node) -> bool:
    """Whether anything says that there is an NVIDIA GPU in this node."""
    if node.gpus_allocatable is not None or PRODUCT in node.labels:
        return True
    if node.labels.get(PRESENT) == "true":
        return True
    if any(
        key.startswith("feature.node.kubernetes.io/pci-") and _PCI_VENDOR in key and value == "true"
        for key, value in node.labels.items()
    ):
        return True
    machine = _by_instance_type(node)
    return machine is not None and machine.device.kind == "gpu"


def _by_instance_type(node: Node) -> Machine | None:
    try:
        return sku(node.labels.get(_INSTANCE_TYPE, ""))
    except UnknownMachine:
        return None


def _look_at(node: Node, request: PlacementRequest) -> Reason | tuple[Verdict, Reason | None]:
    """A reason of the node's own, or fit's verdict with the reason that follows from it."""
    if not node.ready:
        return Reason(code="not ready", node=node.name, text="the node is not Ready")
    if node.cordoned:
        return Reason(code="cordoned", node=node.name, text="the node is cordoned")
    for taint in node.taints:
        hard = taint.effect in ("NoSchedule", "NoExecute")
        if hard and not any(t.tolerates(taint) for t in request.tolerations):
            value = f"={taint.value}" if taint.value else ""
            text = f"taint {taint.key}{value}:{taint.effect} is not tolerated"
            return Reason(code="taint", node=node.name, text=text)
    found = _on_ram(node, request) if request.cpu else _on_gpus(node, request)
    if isinstance(found, Reason) or found[1] is not None:
        return found
    return found[0], _no_cpus(node, request)


def _no_cpus(node: Node, request: PlacementRequest) -> Reason | None:
    free = node.milli_cpus_free
    if free is None or free >= request.milli_cpus:
        return None
    text = (
        f"the pod asks for {request.milli_cpus / 1000:g} CPUs, and {free / 1000:g} of "
        f"{(node.milli_cpus_allocatable or 0) / 1000:g} are not requested by other pods"
    )
    return Reason(code="CPUs taken", node=node.name, text=text)


def _on_ram(node: Node, request: PlacementRequest) -> Reason | tuple[Verdict, Reason | None]:
    free = node.memory_allocatable - node.memory_requested
    if request.memory is not None:
        if free < request.memory:
            asked, left = unlike(request.memory, max(free, 0))
            text = f"the pod asks for {asked}, and {left} are free"
            return Reason(code="does not fit", node=node.name, text=text)
        pod = f"a pod of {human(request.memory)} on {node.name}"
        return _ask(node, Machine(name=pod, device=ram(request.memory), count=1), request)
    if free <= 0:
        text = f"all {human(node.memory_allocatable)} of memory are requested by other pods"
        return Reason(code="does not fit", node=node.name, text=text)
    return _ask(node, Machine(name=node.name, device=ram(free), count=1), request)


def _on_gpus(node: Node, request: PlacementRequest) -> Reason | tuple[Verdict, Reason | None]:
    if not _has_gpus(node):
        return Reason(code="no GPU node", node=node.name, text="the node has no GPU")
    if not node.gpus_allocatable:
        offer = "offers none" if node.gpus_allocatable is None else "offers 0"
        text = (
            f"the node has GPUs but {offer} as {GPU_RESOURCE}: the NVIDIA device plugin is not "
            "running there"
        )
        return Reason(code="device plugin", node=node.name, text=text)
    device = _device(node)
    if isinstance(device, Reason):
        return device
    replicas = _number(node, REPLICAS) or 1  # time-slicing offers each GPU so many times
    allocatable = node.gpus_allocatable // replicas
    # A GPU of which one slice is requested is not free.
    free = allocatable - min(allocatable, -(-node.gpus_requested // replicas))
    if allocatable == 0:
        text = f"{node.gpus_allocatable} slices of shared GPUs make no whole one"
        return Reason(code="device plugin", node=node.name, text=text)
    machine = Machine(
        name=node.labels.get(_INSTANCE_TYPE) or node.name,
        device=device,
        count=allocatable,
        host_memory=node.memory_allocatable or None,
    )
    if request.gpus is not None:
        return _on_so_many(node, machine, free, request.gpus, request)
    if free == 0:
        text = f"all {allocatable} GPUs are requested by other pods"
        return Reason(code="GPUs taken", node=node.name, text=text)
    found = _ask(node, replace(machine, count=free), request)
    if free == allocatable or isinstance(found, Reason) or found[1] is None:
        return found
    whole = _ask(node, machine, request)
    if isinstance(whole, Reason) or whole[1] is not None:
        return whole  # it would not fit the empty node either
    needed = whole[0].gpus_used
    text = f"{free} of {allocatable} GPUs are free, and {request.name} needs {needed}"
    return found[0], Reason(code="GPUs taken", node=node.name, text=text)


def _on_so_many(
    node: Node, machine: Machine, free: int, gpus: int, request: PlacementRequest
) -> Reason | tuple[Verdict, Reason | None]:
    """A pod that asks for a number of GPUs gets no fewer, and no more."""
    if machine.count < gpus:
        text = f"the pod asks for {gpus} GPUs, and the node has {machine.count}"
        return Reason(code="too few GPUs", node=node.name, text=text)
    if machine.count > gpus:
        machine = replace(machine, name=f"{gpus} of {machine.count} GPUs of {machine.name}")
    found = _ask(node, replace(machine, count=gpus), request)
    if free >= gpus or isinstance(found, Reason) or found[1] is not None:
        return found
    text = f"{free} of {machine.count} GPUs are free, and the pod asks for {gpus}"
    return found[0], Reason(code="GPUs taken", node=node.name, text=text)


def _device(node: Node) -> Device | Reason:
    product, memory = node.labels.get(PRODUCT), _number(node, MEMORY)
    if product and memory:
        return gpu_by_label(product, memory)
    machine = _by_instance_type(node)
    if machine is not None and machine.device.kind == "gpu":
        return machine.device
    text = (
        f"which GPU it has is not known: labels {PRODUCT} and {MEMORY} are missing (GPU Feature "
        "Discovery writes them), and so is a known instance type"
    )
    return Reason(code="unknown GPU", node=node.name, text=text)


def _number(node: Node, label: str) -> int | None:
    value = node.labels.get(label, "")
    return int(value) if value.isascii() and value.isdigit() else None


def _ask(
    node: Node, machine: Machine, request: PlacementRequest
) -> Reason | tuple[Verdict, Reason | None]:
    try:
        verdict = cached_fit(request.ask(machine))
    except FitInputError as error:
        return Reason(code="engine", node=node.name, text=str(error))
    if verdict.accepted:
        return verdict, None
    text = verdict.headlines[0] if verdict.headlines else _short(verdict)
    return verdict, Reason(code="does not fit", node=node.name, text=text)


def _short(verdict: Verdict) -> str:
    if verdict.layout is None:
        return "; ".join(verdict.conflicts)
    needed, usable = unlike(verdict.need, verdict.usable)
    return (
        f"{verdict.request.name} {verdict.outcome}: {needed} needed, {usable} usable; decided by "
        f"{verdict.binding}"
    )


def _fullness(node: Node, verdict: Verdict) -> tuple[int, int, str]:
    """The node to prefer: the one that is left with the fewest idle GPUs, then the smallest."""
    idle = (node.gpus_allocatable or 0) - node.gpus_requested - verdict.gpus_used
    return idle, verdict.usable, node.name
