"""The native engine's own question at start: how many KV blocks, or why it cannot start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from berth.checkpoint.numbers import ModelNumbers
from berth.fit.engines import EngineName, arithmetic
from berth.fit.machines import Device, Machine
from berth.fit.options import option
from berth.fit.request import FitInputError, FitRequest, default_fraction
from berth.fit.sharding import Layout, conflicts, outline
from berth.fit.terms import (
    CACHE,
    LOADING,
    PROGRAMS,
    RUNTIME,
    SERVER,
    WEIGHTS,
    Term,
    beside_the_engine,
)
from berth.fit.units import human

BLOCK = arithmetic("native").block
# On a machine that other programs use too, without a limit for Berth: of what weights and
# activations leave, the part that the cache of more than one sequence takes.
SHARE = 0.25
# What is not the engine's own memory, or is taken already when the engine computes its budget.
_NOT_ASKED = frozenset({CACHE, RUNTIME, SERVER, PROGRAMS})


class CannotFit(Exception):
    """The engine must not start. `lines` hold the terms; the first is the sentence."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBudget:
    """What the engine allocates on each rank, and what it expects to use."""

    blocks: int
    max_model_len: int  # tokens that one sequence may have
    terms: tuple[Term, ...]  # at max_model_len, the cache as it will be allocated
    room: int  # bytes that this rank might still take when it was asked
    cache_rule: str  # what decided how large the cache is, as a clause

    @property
    def bytes(self) -> dict[str, int]:
        """The terms by name, for metrics."""
        return {term.name: term.bytes for term in self.terms}


def engine_room(
    engine: EngineName,
    kind: Literal["gpu", "cpu"],
    *,
    total: int,
    free: int,
    fraction: float | None,
    ranks_here: int = 1,
) -> int:
    """Bytes that one more of `ranks_here` ranks may still take of a device, as `fit` counts them.

    Args:
        total, free: of the device; of the container, if that has a limit. What the page cache
            holds is free.
        fraction: of the total that may be in use, others included; None: fit's own.
    """
    fraction = default_fraction(engine, kind) if fraction is None else fraction
    room = int(total * fraction) - (total - free)
    if kind == "cpu":
        beside = beside_the_engine(engine, 0, 1)
        room -= sum(term.bytes for term in beside if term.name == PROGRAMS)
    return max(0, room) // ranks_here


def engine_budget(
    numbers: ModelNumbers,
    *,
    kind: Literal["gpu", "cpu"],
    device_total_bytes: int,
    device_free_bytes: int,
    degree: int,
    dtype: str,
    max_model_len: int,
    max_num_seqs: int,
    max_batch_tokens: int,
    memory_fraction: float | None = None,
    shared: bool = False,
    ranks_here: int = 1,
    loaded_bytes: int = 0,
    kv_cache_bytes: int | None = None,
    gather_tokens: int | None = None,
    device: str = "this device",
) -> EngineBudget:
    """Blocks of one rank's KV cache for the device that it sees.

    Ask before loading (to refuse early) and again after it (`loaded_bytes`: the rank's weights,
    which `device_free_bytes` then lacks already). The process itself is running, so its base is
    in what is not free.

    Args:
        dtype: of weights, activations and cache: "float32", "bfloat16" or "float16".
        memory_fraction: of the total that may be in use when the engine runs, others included;
            None: fit's own.
        shared: it is a machine that others use too: the cache is to have room for one sequence as
            long as may be, and beyond that SHARE of what is left. If the operator gave a
            fraction, it is taken whole.
        ranks_here: ranks that share this device's memory (CPU; 1 on a GPU of its own).
        kv_cache_bytes: the operator's own size of the cache, if any.
        gather_tokens: on a GPU, tokens of all sequences that decode gathers at once; None if
            it pads every sequence to the longest (64 of 131,072 tokens are more than any card).

    Raises:
        CannotFit: not one block of 16 tokens has room; the lines have the terms.
    """
    request = FitRequest(
        model=numbers,
        machine=Machine(name=device, device=_device(kind, device_total_bytes), count=degree),
        engine="native",
        dtype=dtype,
        batch_tokens=max(max_batch_tokens, max_num_seqs),
        max_num_seqs=max_num_seqs,
        tensor=degree,
        gather_tokens=gather_tokens,
    )
    plan = outline(numbers)
    layout = Layout(degree)
    if reasons := conflicts(plan, layout, "native"):
        raise FitInputError("; ".join(reasons))
    room = engine_room(
        "native",
        kind,
        total=device_total_bytes,
        free=device_free_bytes,
        fraction=memory_fraction,
        ranks_here=ranks_here,
    )
    (ledger,) = option(request, plan, layout).ledgers
    per_block = ledger.need(BLOCK, 1).of(CACHE)

    def terms(context: int) -> tuple[Term, ...]:
        found = ledger.need(context, max_num_seqs).terms
        return tuple(t for t in found if t.name not in _NOT_ASKED)

    def beside(context: int) -> int:
        """Bytes that this rank will take besides the cache, at their most while serving."""
        return sum(t.bytes for t in terms(context) if not t.starting) - loaded_bytes

    share = SHARE if shared and memory_fraction is None else 1.0
    blocks, reach = _blocks(
        room if kv_cache_bytes is None else None,
        kv_cache_bytes,
        beside,
        per_block,
        max_num_seqs,
        max_model_len,
        share,
    )
    loading = sum(t.bytes for t in terms(BLOCK) if t.name in (WEIGHTS, LOADING)) - loaded_bytes
    if blocks < 1 or (loaded_bytes == 0 and loading > room):
        used = device_total_bytes - device_free_bytes
        raise CannotFit(_refusal(device, room, device_total_bytes, used, per_block, terms(BLOCK)))
    cache = Term(
        name=CACHE,
        bytes=blocks * per_block,
        low=blocks * per_block,
        high=blocks * per_block,
        exact=True,
    )
    if blocks == _blocks_of(max_model_len) * max_num_seqs:
        rule = f"all {max_num_seqs} sequences at their longest"
    elif kv_cache_bytes is not None:
        rule = "as --kv-cache-memory says"
    elif share == 1.0:
        rule = f"all that is left of {human(device_total_bytes)}"
    elif blocks == _blocks_of(reach):
        rule = "one sequence at its longest; --kv-cache-memory gives more"
    else:
        rule = f"{SHARE:.0%} of what is left; --kv-cache-memory gives more"
    return EngineBudget(
        blocks=blocks,
        max_model_len=reach,
        terms=(*terms(reach), cache),
        room=room,
        cache_rule=rule,
    )


def _device(kind: Literal["gpu", "cpu"], total: int) -> Device:
    return Device(product=kind, kind=kind, total=total, low=total, high=total, known=True)


def _blocks_of(tokens: int) -> int:
    return -(-tokens // BLOCK)


def _blocks(
    room: int | None,
    fixed: int | None,
    beside: _Beside,
    per_block: int,
    sequences: int,
    most: int,
    share: float,
) -> tuple[int, int]:
    """Blocks and the longest sequence: what a longer one needs besides the cache is taken off.

    A longer context makes wider activations, so it is settled first: the longest whose own cache
    still fits beside them. Then `share` of what is left goes to the cache, if that is more; no more
    than can ever be used.
    """
    wanted = _blocks_of(most) * sequences
    if room is None:
        blocks = min(wanted, (fixed or 0) // per_block)
        return blocks, min(most, blocks * BLOCK)
    low, high = 0, _blocks_of(most) + 1
    while high - low > 1:
        middle = (low + high) // 2
        held = beside(min(most, middle * BLOCK)) + middle * per_block <= room
        low, high = (middle, high) if held else (low, middle)
    reach = min(most, low * BLOCK)
    if reach < 1:
        return 0, 0
    left = (room - beside(reach)) // per_block
    return min(wanted, max(_blocks_of(reach), int(left * share))), reach


class _Beside(Protocol):
    def __call__(self, context: int, /) -> int: ...


def _refusal(
    device: str, room: int, total: int, used: int, per_block: int, terms: tuple[Term, ...]
) -> list[str]:
    need = sum(term.bytes for term in terms if not term.starting) + per_block
    lines = [
        f"the model does not fit: {human(need)} are needed for one block of {BLOCK} tokens, and "
        f"{human(room)} of {human(total)} on {device} may still be used ({human(used)} are in use)"
    ]
    lines += [f"  {term.name}: {human(term.bytes)}" for term in terms if term.bytes]
    lines.append(f"  {CACHE}: {human(per_block)} for each block")
    return lines
