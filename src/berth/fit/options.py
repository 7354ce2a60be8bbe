"""The layouts that may be tried on a machine, and what each leaves of its devices."""

from __future__ import annotations

from dataclasses import dataclass

from berth.fit.engines import arithmetic
from berth.fit.request import FitRequest
from berth.fit.sharding import Layout, Outline, conflicts, stages
from berth.fit.terms import Ledger, Need
from berth.fit.units import ceil_div


@dataclass(frozen=True, slots=True)
class Option:
    """A possible layout on a machine."""

    layout: Layout
    ledgers: tuple[Ledger, ...]
    usable: int  # bytes that a rank may take of its device
    largest: int  # bytes of the largest tensor of any rank

    def fits(self, context: int, concurrency: int) -> bool:
        """Whether every stage's ranks have room."""
        return all(
            ledger.need(context, concurrency).bytes <= self.usable for ledger in self.ledgers
        )

    def needs(self, context: int, concurrency: int) -> tuple[Need, ...]:
        """One for each stage."""
        return tuple(ledger.need(context, concurrency) for ledger in self.ledgers)

    def worst(self, context: int, concurrency: int) -> Need:
        """Of the rank that needs most."""
        return max(self.needs(context, concurrency), key=lambda need: need.bytes)


def option(request: FitRequest, plan: Outline, layout: Layout) -> Option:
    """Measure one layout."""
    parts = stages(request, plan, layout)
    return Option(
        layout,
        tuple(Ledger(request, plan, layout, stage) for stage in parts),
        usable_bytes(request, layout),
        max(stage.largest for stage in parts),
    )


def usable_bytes(request: FitRequest, layout: Layout) -> int:
    """Bytes that one rank may take of its device.

    Of an estimated device the least that it may have. Ranks on a CPU node share its RAM.
    """
    device = request.machine.device
    total = device.total if device.known else device.low
    usable = min(int(total * request.fraction), total - device.reserved)
    if device.kind == "cpu":
        usable //= ceil_div(layout.ranks, request.nodes)
    return usable


def candidates(request: FitRequest, plan: Outline) -> tuple[list[Layout], list[str]]:
    """The possible layouts to choose from, and why others are not.

    Those that were asked for, else every arrangement of the machine's GPUs, and of fewer of them:
    a GPU more can then never turn a yes into a no. Ranks on CPU are asked for, never assumed.
    """
    total = request.machine.count * request.nodes
    if request.machine.device.kind == "cpu":
        asked = Layout(request.tensor or 1, request.pipeline or 1)
        found = conflicts(plan, asked, request.engine)
        return ([], found) if found else ([asked], [])
    possible: list[Layout] = []
    refused: dict[str, None] = {}
    for layout in _arrangements(request, plan, total):
        if layout.ranks > total:
            refused[f"{layout} needs {layout.ranks} GPUs, and there are {total}"] = None
        elif reasons := conflicts(plan, layout, request.engine):
            refused |= dict.fromkeys(reasons)
        else:
            possible.append(layout)
    return possible, list(refused)


def _arrangements(request: FitRequest, plan: Outline, total: int) -> list[Layout]:
    """From the most ranks to the fewest.

    An engine that splits both shares matrices within a node and layers between nodes; layers
    within a node only if no degree uses all its GPUs.
    """
    splits = arithmetic(request.engine).splits
    by_layers = splits == "layers"
    tensors = [request.tensor] if request.tensor else [1] if by_layers else _down(total)
    count = request.machine.count
    uneven = bool(conflicts(plan, Layout(count), request.engine))
    found = []
    for tensor in tensors:
        if request.pipeline:
            pipelines = [request.pipeline]
        elif by_layers:
            pipelines = _down(total)
        elif splits == "matrices":
            pipelines = [1]
        else:
            most = max(total // tensor, 1)
            pipelines = sorted({1, min(request.nodes, most), *([most] if uneven else [])})
        found += [Layout(tensor, pipeline) for pipeline in pipelines]
    return sorted(found, key=lambda layout: (-layout.ranks, -layout.tensor))


def _down(total: int) -> list[int]:
    """Numbers of GPUs worth trying, the most first: all up to 16, then whole nodes of 8."""
    return [n for n in range(total, 0, -1) if n <= 16 or n == total or n % 8 == 0]
