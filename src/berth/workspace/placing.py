"""Where a Workspace can go now: its shape, or what is missing. The order is fit, then nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import msgspec

from berth.fit.explain import explain
from berth.fit.machines import Machine, UnknownMachine, sku
from berth.fit.placement import (
    COUNT,
    DEFAULT_TOLERATIONS,
    MEMORY,
    PRODUCT,
    REPLICAS,
    Node,
    Placement,
    PlacementRequest,
    ReasonCode,
    cached_fit,
    place,
)
from berth.fit.request import FitInputError, FitRequest
from berth.fit.verdict import Verdict
from berth.workspace.names import INSTANCE_TYPE
from berth.workspace.reasons import Reason
from berth.workspace.shape import CPU_POD_MILLI_CPUS, GPU_POD_MILLI_CPUS, Shape
from berth.workspace.sizing import cpu_dtypes, cpu_shape, fit_of, group_verdict, question, shape_of
from berth.workspace.spec import Spec
from berth.workspace.types import Fit

Truth = Literal["True", "False", "Unknown"]

_MOST_REASONS = 12  # of single nodes, in one message

# In the order in which they decide what the condition says, if nodes differ.
_CODES: dict[ReasonCode, Reason] = {
    "too few nodes": Reason.TooFewNodes,
    "GPUs taken": Reason.NodesTaken,
    "CPUs taken": Reason.NodesTaken,
    "not ready": Reason.NodeNotReady,
    "cordoned": Reason.NodeCordoned,
    "taint": Reason.NodeTainted,
    "device plugin": Reason.DevicePluginMissing,
    "unknown GPU": Reason.GpuUnknown,
    "does not fit": Reason.DoesNotFit,
    "engine": Reason.DoesNotFit,
    "no GPU node": Reason.NoGpuNode,
    "label selector": Reason.NoMatchingNode,
    "no nodes": Reason.NoNodes,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """It cannot go anywhere now. `fits`: what is known of the model and the nodes' memory."""

    reason: Reason
    message: str
    fits: Truth
    fit: Fit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """It can go: in this shape, on these nodes, the best first."""

    shape: Shape
    nodes: tuple[str, ...]


def find_room(spec: Spec, nodes: Sequence[Node]) -> Room | Unplaced:
    """Look at the nodes that are there."""
    matching = [node for node in nodes if of_type(node, spec.instance_type)]
    if nodes and not matching:
        found = sorted({node.labels.get(INSTANCE_TYPE, "none") for node in nodes})
        return Unplaced(
            reason=Reason.NoMatchingNode,
            message=f"No node is of instance type {spec.instance_type}; there are: "
            f"{', '.join(found[:_MOST_REASONS])}.",
            fits="Unknown",
        )
    return _Search(spec, matching).run()


def of_type(node: Node, instance_type: str) -> bool:
    """Letter case does not matter; no type is any type."""
    return not instance_type or node.labels.get(INSTANCE_TYPE, "").lower() == instance_type.lower()


def room_on_new_nodes(spec: Spec) -> Shape | Unplaced:
    """The shape on nodes of the Workspace's instance type, which are not there yet."""
    try:
        machine = sku(spec.instance_type)
    except UnknownMachine as error:
        return Unplaced(reason=Reason.UnknownInstanceType, message=f"{error}.", fits="Unknown")
    try:
        return _new_cpu(spec, machine) if machine.device.kind == "cpu" else _new_gpu(spec, machine)
    except FitInputError as error:
        return Unplaced(reason=Reason.DoesNotFit, message=f"{error}.", fits="False")


def _new_cpu(spec: Spec, machine: Machine) -> Shape | Unplaced:
    refused: Verdict | None = None
    for asked, dtype in cpu_dtypes(spec):
        verdict = cached_fit(question(asked, machine))
        if verdict.accepted:
            return cpu_shape(asked, verdict, machine.device.total, dtype)
        refused = verdict
    assert refused is not None, "there is at least one dtype"
    return _refused(refused)


def _new_gpu(spec: Spec, machine: Machine) -> Shape | Unplaced:
    alone = cached_fit(question(spec, machine))
    if alone.accepted:
        return shape_of(spec, alone, (), group=False)
    if spec.count == 1 or spec.parallel != "ranks":
        return _refused(alone)
    together = group_verdict(spec, machine)
    return shape_of(spec, together, (), group=True) if together.accepted else _refused(together)


def usable_nodes(spec: Spec, shape: Shape, nodes: Sequence[Node]) -> int:
    """How many of the nodes can each take a pod of this shape now."""
    matching = [node for node in nodes if of_type(node, spec.instance_type)]
    search = _Search(spec, matching)
    if shape.device == "cpu":
        return len(search.place(matching, 1, cpu=True).nodes)
    ask = partial(group_question, spec)
    if shape.kind == "replicas":
        by_layers = spec.parallel == "layers"
        layout = (1, shape.ranks) if by_layers else (shape.ranks, 1)
        ask = partial(_with_layout, spec, layout)
    return len(search.place(matching, 1, ask).nodes)


@dataclass(frozen=True, slots=True)
class _Search:
    spec: Spec
    nodes: Sequence[Node]

    def run(self) -> Room | Unplaced:
        found = self._now()
        if isinstance(found, Room):
            return found
        emptied = self._emptied()
        whole = found if emptied == list(self.nodes) else replace(self, nodes=emptied)._now()
        if isinstance(whole, Unplaced):
            # Were the nodes empty it would not do either: then that is what has to be said.
            return whole if found.reason is Reason.NodesTaken else found
        if found.reason not in (Reason.DoesNotFit, Reason.NodesTaken, Reason.TooFewNodes):
            return found
        reason = Reason.NodesTaken if found.reason is Reason.DoesNotFit else found.reason
        return replace(found, reason=reason, fits="True", fit=whole.shape.fit)

    def _now(self) -> Room | Unplaced:
        if _is_for_cpus(self.spec):
            return self._on_ram()  # of GPU nodes too, without their GPUs
        whole = replace(self, nodes=self._emptied())
        alone = whole.place(whole.nodes, 1)
        if any(one.code == "no GPU node" and one.node is None for one in alone.reasons):
            return self._on_ram()  # of all nodes, and not only of some of them
        # Split only if there could never be enough whole ones: a busy node is no reason to.
        if self.spec.count > 1 and self.spec.parallel == "ranks" and whole._replicas() is None:
            found = self._group()
            if isinstance(found, Room) or not alone.placed:
                return found
        return self._replicas() or _missing(self.place(self.nodes, self.spec.count))

    def _emptied(self) -> list[Node]:
        return [
            replace(node, gpus_requested=0, memory_requested=0, milli_cpus_requested=0)
            for node in self.nodes
        ]

    def place(
        self,
        nodes: Sequence[Node],
        count: int,
        ask: Callable[[Machine], FitRequest] | None = None,
        *,
        cpu: bool = False,
    ) -> Placement:
        preset = self.spec.preset
        assert preset is not None, "templates have a search of their own"
        return place(
            nodes,
            PlacementRequest(
                ask=ask or (lambda machine: question(self.spec, machine)),
                name=preset.name,
                nodes=count,
                selector=self.spec.selector,
                tolerations=DEFAULT_TOLERATIONS,
                cpu=cpu,
                milli_cpus=CPU_POD_MILLI_CPUS if cpu else GPU_POD_MILLI_CPUS,
            ),
        )

    def _replicas(self) -> Room | None:
        """The largest layout that enough nodes can take, one pod each."""
        layouts: dict[tuple[int, int], None] = {}
        for alike in _classes(self.nodes):
            verdict = self.place(alike, 1).verdict
            if verdict is not None and verdict.accepted and verdict.layout is not None:
                layouts[verdict.layout.tensor, verdict.layout.pipeline] = None
        for layout in sorted(layouts, key=lambda one: -one[0] * one[1]):
            found = self.place(self.nodes, 1, partial(_with_layout, self.spec, layout))
            if not found.placed or found.verdict is None:
                continue
            good = self._named(found.nodes)
            shape = shape_of(self.spec, found.verdict, good, group=False)
            if sum(_free_gpus(node) >= shape.gpus for node in good) >= self.spec.count:
                return self._room(shape, good)
        return None

    def _group(self) -> Room | Unplaced:
        """One model over all nodes, which must be alike. Or what came nearest."""
        count = self.spec.count
        tried: list[Unplaced] = []
        for alike in _classes(self.nodes):
            found = self.place(alike, count, partial(group_question, self.spec))
            if found.placed and found.verdict is not None:
                good = self._named(found.nodes)[:count]
                return self._room(shape_of(self.spec, found.verdict, good, group=True), good)
            tried.append(_missing(found))
        if not tried:
            return _missing(self.place(self.nodes, count))
        return min(tried, key=lambda one: list(_CODES.values()).index(one.reason))

    def _on_ram(self) -> Room | Unplaced:
        found: Room | Unplaced | None = None
        for spec, dtype in cpu_dtypes(self.spec):
            found = replace(self, spec=spec)._on_ram_in(dtype)
            if isinstance(found, Room):
                break
        assert found is not None, "there is at least one dtype"
        return found

    def _on_ram_in(self, dtype: str) -> Room | Unplaced:
        count = self.spec.count
        found = self.place(self.nodes, 1, cpu=True)
        if not found.placed or found.verdict is None:
            return _missing(found)
        good = self._named(found.nodes)
        free = [node.memory_allocatable - node.memory_requested for node in good]
        # Of the memory that every one of the pods can have, not only the first.
        least = sorted(free, reverse=True)[min(count, len(free)) - 1]
        shape = cpu_shape(self.spec, found.verdict, least, dtype)
        if sum(size >= shape.memory for size in free) < count:
            return _missing(self.place(self.nodes, count, cpu=True))
        return self._room(shape, good)

    def _named(self, names: Sequence[str]) -> list[Node]:
        """These nodes in their order, the preferred ones before the others."""
        by_name = {node.name: node for node in self.nodes}
        wanted = set(self.spec.preferred_nodes)
        return sorted((by_name[name] for name in names), key=lambda node: node.name not in wanted)

    def _room(self, shape: Shape, nodes: list[Node]) -> Room:
        types = tuple(sorted({n.labels[INSTANCE_TYPE] for n in nodes if INSTANCE_TYPE in n.labels}))
        if self.spec.instance_type:
            shape = msgspec.structs.replace(shape, instance_types=types)
        return Room(shape=shape, nodes=tuple(node.name for node in nodes))


def _is_for_cpus(spec: Spec) -> bool:
    """Whether a GPU is neither needed nor asked for: by the preset's `device`, unless the
    Workspace names an instance type with GPUs."""
    if spec.preset is None or spec.preset.device != "cpu":
        return False
    try:
        return not spec.instance_type or sku(spec.instance_type).device.kind == "cpu"
    except UnknownMachine:
        return True


def _classes(nodes: Sequence[Node]) -> list[list[Node]]:
    """Nodes that look alike to fit, the largest class first."""
    found: dict[tuple[object, ...], list[Node]] = defaultdict(list)
    for node in nodes:
        labels = (node.labels.get(key) for key in (PRODUCT, MEMORY, COUNT, REPLICAS, INSTANCE_TYPE))
        found[(*labels, node.gpus_allocatable, _free_gpus(node))].append(node)
    return sorted(found.values(), key=lambda alike: (-len(alike), alike[0].name))


def _free_gpus(node: Node) -> int:
    """Whole GPUs: time-slicing offers each of them several times."""
    slices = node.labels.get(REPLICAS, "")
    each = max(int(slices), 1) if slices.isascii() and slices.isdigit() else 1
    return max((node.gpus_allocatable or 0) - node.gpus_requested, 0) // each


def _with_layout(spec: Spec, layout: tuple[int, int], machine: Machine) -> FitRequest:
    return question(spec, machine, 1, layout)


def group_question(spec: Spec, machine: Machine) -> FitRequest:
    """Over all nodes, with a degree that they can share evenly. Raises FitInputError."""
    verdict = group_verdict(spec, machine)
    return verdict.request


def _refused(verdict: Verdict) -> Unplaced:
    return Unplaced(
        reason=Reason.DoesNotFit,
        message="\n".join(explain(verdict)),
        fits="False",
        fit=fit_of(verdict),
    )


def _codes(found: Placement) -> set[ReasonCode]:
    return {reason.code for reason in found.reasons}


def _missing(found: Placement) -> Unplaced:
    if found.placed and found.verdict is not None:
        return Unplaced(
            reason=Reason.TooFewNodes,
            message=f"Each of {', '.join(found.nodes[:_MOST_REASONS])} could take it, but not with "
            "the same number of GPUs, which all pods of a Workspace get.",
            fits="True",
            fit=fit_of(found.verdict),
        )
    codes = _codes(found)
    reason = next((_CODES[code] for code in _CODES if code in codes), Reason.NoNodes)
    verdict = found.verdict
    lines = explain(verdict) if reason is Reason.DoesNotFit and verdict is not None else []
    others = [one for one in found.reasons if one.text not in lines]
    for one in others[:_MOST_REASONS]:
        lines.append(f"node {one.node}: {one.text}" if one.node else one.text)
    if len(others) > _MOST_REASONS:
        lines.append(f"and {len(others) - _MOST_REASONS} further reasons")
    return Unplaced(
        reason=reason,
        message="\n".join(lines),
        fits=_fits(reason),
        fit=None if verdict is None else fit_of(verdict),
    )


def _fits(reason: Reason) -> Truth:
    """What the reason says of the memory alone."""
    if reason is Reason.DoesNotFit:
        return "False"
    return "True" if reason in (Reason.NodesTaken, Reason.TooFewNodes) else "Unknown"
