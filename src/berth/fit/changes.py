"""The smallest change that makes it fit: each kind of change is tried alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from berth.fit.engines import arithmetic
from berth.fit.machines import Machine, all_skus
from berth.fit.quantization import SCHEMES
from berth.fit.request import FitInputError, FitRequest
from berth.fit.sharding import Outline
from berth.fit.verdict import Change

Fits = Callable[[FitRequest, Outline], bool]

# Fewer tokens than this are no service: then it does not fit, rather than "with less".
LEAST_CONTEXT = 512
_COUNTS: tuple[int, ...] = (
    *range(1, 17),
    24,
    32,
    48,
    64,
)  # GPUs of one kind that are worth asking for


def find_changes(
    request: FitRequest, plan: Outline, max_context: int, fits: Fits
) -> Iterator[Change]:
    """Changes after which it fits, one of each kind, the smallest first.

    Fewer tokens cost nothing; then fewer sequences, a smaller cache, another degree, fewer bits
    of the weights, another machine.
    """
    yield from _fewer_tokens(request, max_context)
    yield from _other_dtype(request, plan, fits)
    yield from _fewer_sequences(request, plan, fits)
    yield from _smaller_cache(request, plan, fits)
    yield from _another_degree(request, plan, fits)
    yield from _quantised(request, plan, fits)
    yield from _another_machine(request, plan, fits)


def smallest_count(request: FitRequest, plan: Outline, fits: Fits) -> int | None:
    """How many GPUs of this kind in one machine would do; None: no number does.

    A degree that was asked for stays, unless it is what the GPUs were counted for.
    """
    if request.machine.device.kind == "cpu":
        return None
    free = replace(request, tensor=None, pipeline=None, nodes=1)
    for count in _COUNTS:
        if fits(replace(free, machine=_bare(request.machine, count)), plan):
            return count
    return None


def _bare(machine: Machine, count: int) -> Machine:
    """More of the same GPU; a node's other resources grow with them and are not asked about."""
    return replace(machine, count=count, host_memory=None, shm=None, disk=None)


def _fewer_tokens(request: FitRequest, max_context: int) -> Iterator[Change]:
    if LEAST_CONTEXT <= max_context < request.wanted_context:
        rounded = max_context // 16 * 16
        yield Change(kind="context", value=rounded, text=f"a context of {rounded:,} tokens")


def _other_dtype(request: FitRequest, plan: Outline, fits: Fits) -> Iterator[Change]:
    """float32 weights in half of it; float16 on old GPUs, which do not compute bfloat16."""
    for dtype in ("bfloat16", "float16"):
        wider = request.resolved_dtype == "float32"
        if not wider and not (dtype == "float16" and request.resolved_dtype == "bfloat16"):
            continue
        if fits(replace(request, dtype=dtype), plan):
            yield Change(kind="dtype", value=dtype, text=f"dtype {dtype}")
            return


def _fewer_sequences(request: FitRequest, plan: Outline, fits: Fits) -> Iterator[Change]:
    wanted = request.wanted_concurrency
    if wanted == 1 or not fits(replace(request, concurrency=1), plan):
        return
    low, high = 1, wanted
    while high - low > 1:
        middle = (low + high) // 2
        held = fits(replace(request, concurrency=middle), plan)
        low, high = (middle, high) if held else (low, middle)
    text = f"{low} sequence{'s' if low > 1 else ''} at a time"
    yield Change(kind="concurrency", value=low, text=text)


def _smaller_cache(request: FitRequest, plan: Outline, fits: Fits) -> Iterator[Change]:
    dtype = arithmetic(request.engine).smaller_cache
    if dtype is None or request.kv_dtype != "auto":
        return
    if fits(replace(request, kv_dtype=dtype), plan):
        yield Change(kind="kv_dtype", value=dtype, text=f"a KV cache in {dtype}")


def _another_degree(request: FitRequest, plan: Outline, fits: Fits) -> Iterator[Change]:
    if request.tensor is None or arithmetic(request.engine).splits == "layers":
        return  # not asked for, or split by layers
    for degree in range(1, request.machine.count * request.nodes + 1):
        if degree != request.tensor and fits(replace(request, tensor=degree), plan):
            yield Change(kind="tensor", value=degree, text=f"tensor-parallel degree {degree}")
            return


def _quantised(request: FitRequest, plan: Outline, fits: Fits) -> Iterator[Change]:
    if request.scheme is not None:
        return
    for name in arithmetic(request.engine).quantises:
        if fits(replace(request, quantize=name, stored_bytes=None), plan):
            text = f"weights in {name} ({SCHEMES[name].bits} bits)"
            yield Change(kind="quantize", value=name, text=text)
            return


def _another_machine(request: FitRequest, plan: Outline, fits: Fits) -> Iterator[Change]:
    machine = request.machine
    free = replace(request, tensor=None, pipeline=None, nodes=1)
    if machine.cloud is None:
        count = smallest_count(request, plan, fits)
        if count is not None and count > machine.count * request.nodes:
            text = f"{count} x {machine.device.product}"
            yield Change(kind="sku", value=text, text=text)
        return
    tried: set[tuple[str, int, int | None]] = set()
    for other in all_skus(machine.cloud):
        key = (other.device.product, other.count, other.host_memory)
        if other.device.kind != machine.device.kind or key in tried:
            continue
        tried.add(key)
        try:
            held = fits(replace(free, machine=other), plan)
        except FitInputError:  # an engine that this kind of machine does not run
            continue
        if held:
            yield Change(kind="sku", value=other.name, text=f"instance type {other.name}")
            return
