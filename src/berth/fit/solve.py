"""`fit`: the one question, with the same answer for every command. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from berth.fit.changes import LEAST_CONTEXT, find_changes, smallest_count
from berth.fit.options import Option, candidates, option
from berth.fit.refusal import headlines, unsupported
from berth.fit.request import FitRequest
from berth.fit.sharding import Outline, outline
from berth.fit.terms import CACHE, LOADING, SERVING, Need, Term, node_terms
from berth.fit.units import human
from berth.fit.verdict import Outcome, Verdict

_MOST_SEQUENCES = 4096  # more than any request needs, and a search must end


def fit(request: FitRequest) -> Verdict:
    """Whether the model fits the machine, with every term and the smallest change.

    Raises nothing: FitRequest has been validated. Takes a few milliseconds.
    """
    plan = outline(request.model)
    reasons = unsupported(request)
    layouts, conflicts = candidates(request, plan)
    if reasons or not layouts:
        return _impossible(request, plan, [*reasons, *conflicts], bool(reasons))
    best = max((_Measured(request, option(request, plan, one)) for one in layouts), key=_rank)
    return _verdict(request, plan, best, conflicts)


def fits(request: FitRequest, plan: Outline | None = None) -> bool:
    """Whether it fits as asked; `fit` without the rest of the answer, for searches."""
    plan = plan or outline(request.model)
    if unsupported(request):
        return False
    context, concurrency = request.wanted_context, request.wanted_concurrency
    layouts, _ = candidates(request, plan)
    return any(
        chosen.fits(context, concurrency) and not _shortage(request, plan, chosen)
        for chosen in (option(request, plan, layout) for layout in layouts)
    )


@dataclass(slots=True)
class _Measured:
    """A layout and how far it reaches."""

    request: FitRequest
    option: Option
    max_context: int = 0
    max_concurrency: int = 0

    def __post_init__(self) -> None:
        context, concurrency = self.request.wanted_context, self.request.wanted_concurrency
        chosen = self.option
        self.max_context = _largest(context, lambda n: chosen.fits(n, concurrency))
        if self.max_context == context:
            self.max_concurrency = _largest(_MOST_SEQUENCES, lambda n: chosen.fits(context, n))

    @property
    def whole(self) -> bool:
        return self.max_context == self.request.wanted_context


def _rank(measured: _Measured) -> tuple[bool, int, int, int]:
    """The layout to choose: it fits, then it holds most, then it needs least, of fewest ranks."""
    request = measured.request
    need = measured.option.worst(request.wanted_context, request.wanted_concurrency).bytes
    holds = measured.max_concurrency if measured.whole else measured.max_context
    overflow = 0 if measured.whole else need - measured.option.usable
    return measured.whole, holds, -overflow, -measured.option.layout.ranks


def _largest(most: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to `most` that holds, 0 if 1 does not. `holds` is monotone."""
    if holds(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _verdict(request: FitRequest, plan: Outline, best: _Measured, conflicts: list[str]) -> Verdict:
    chosen = best.option
    context, concurrency = request.wanted_context, request.wanted_concurrency
    needs = chosen.needs(context, concurrency)
    # If it fits, what the last sequence that still has room would be short of.
    limit = chosen.worst(context, max(concurrency, best.max_concurrency))
    around = tuple(node_terms(request, plan, chosen.layout, chosen.largest))
    shortage = _short_of(request, around)
    outcome: Outcome = "does not fit"
    if not shortage and best.whole:
        outcome = "fits"
    elif not shortage and best.max_context >= min(LEAST_CONTEXT, context):
        outcome = "fits with less"
    named = request.context is not None or request.concurrency is not None
    accepted = outcome == "fits" or (outcome == "fits with less" and not named)
    refused = outcome != "fits"
    count = smallest_count(request, plan, fits) if refused else None
    return Verdict(
        request=request,
        outcome=outcome,
        accepted=accepted,
        layout=chosen.layout,
        context=context,
        concurrency=concurrency,
        needs=needs,
        node_terms=around,
        usable=chosen.usable,
        max_context=best.max_context,
        max_concurrency=best.max_concurrency,
        binding=shortage or _binding(limit, chosen.usable),
        headlines=tuple(headlines(request, chosen, needs, count)) if not accepted else (),
        conflicts=tuple(conflicts),
        changes=tuple(find_changes(request, plan, best.max_context, fits)) if refused else (),
        notes=tuple(_notes(request, chosen, around, conflicts)),
    )


def _binding(need: Need, usable: int) -> str:
    """The term that decides whether it fits, or would be the first not to fit any more."""
    device = [term for term in need.terms if term.resource == "device"]
    stays = [term for term in device if not term.starting and term.name not in SERVING]
    if sum(term.bytes for term in stays) > usable:
        return _most(stays)
    serving = [term for term in device if term.name in SERVING]
    starting = [term for term in device if term.starting]
    if sum(term.bytes for term in starting) > sum(term.bytes for term in serving):
        return LOADING
    return _most(serving) if serving else CACHE


def _most(terms: list[Term]) -> str:
    return max(terms, key=lambda term: term.bytes).name


def _shortage(request: FitRequest, plan: Outline, chosen: Option) -> str:
    return _short_of(request, node_terms(request, plan, chosen.layout, chosen.largest))


def _short_of(request: FitRequest, around: tuple[Term, ...] | list[Term]) -> str:
    """The resource of the node that certainly does not suffice; "" if all may."""
    machine = request.machine
    room = {"host": machine.host_memory, "shm": machine.shm, "disk": machine.disk}
    for term in around:
        limit = room.get(term.resource)
        if limit is not None and term.low > limit:
            return term.name
    return ""


def _notes(
    request: FitRequest, chosen: Option, around: tuple[Term, ...], conflicts: list[str]
) -> list[str]:
    notes: list[str] = []
    machine = request.machine
    total = machine.count * request.nodes
    if machine.device.kind == "gpu" and chosen.layout.ranks < total:
        why = f": {conflicts[0]}" if conflicts else ""
        notes.append(f"{chosen.layout.ranks} of {total} GPUs are used{why}")
    if not machine.device.known:
        notes.append(
            f"the memory of {machine.device.product} is estimated: {human(machine.device.low)} "
            f"to {human(machine.device.high)}"
        )
    if machine.device.product.startswith("AMD-"):
        notes.append("no engine of Berth has run on AMD's GPUs, and no image of Berth is for them")
    for term in around:
        if term.resource == "host" and machine.host_memory and term.bytes > machine.host_memory:
            notes.append(
                f"{human(machine.host_memory)} of host memory may be too little: about "
                f"{human(term.bytes)} are used while loading"
            )
    if request.model.missing and request.stored_bytes is None:
        notes.append(f"not counted: {', '.join(request.model.missing)}")
    capability = machine.device.compute_capability
    if capability and capability < (8, 0) and request.resolved_dtype == "bfloat16":
        notes.append(
            f"{machine.device.product} computes bfloat16 slowly or not at all; dtype float16 "
            "takes the same memory"
        )
    return notes


def _impossible(
    request: FitRequest, plan: Outline, reasons: list[str], unsupported_device: bool
) -> Verdict:
    """No layout is possible: the ranks asked for are more than the GPUs, or cannot share."""
    asked = (request.tensor or 1) * (request.pipeline or 1)
    too_few = asked > request.machine.count * request.nodes
    binding = "gpu count" if too_few else "sharding"
    if unsupported_device:
        binding = "compute capability"
    return Verdict(
        request=request,
        outcome="does not fit",
        accepted=False,
        layout=None,
        context=request.wanted_context,
        concurrency=request.wanted_concurrency,
        needs=(),
        node_terms=(),
        usable=0,
        max_context=0,
        max_concurrency=0,
        binding=binding,
        headlines=tuple(headlines(request, None, (), asked if too_few else None)),
        conflicts=tuple(reasons),
        changes=tuple(find_changes(request, plan, 0, fits)),
        notes=(),
    )
