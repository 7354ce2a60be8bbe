"""What one of several models takes of memory that they share, and how large its cache is then."""

from __future__ import annotations

from dataclasses import dataclass, replace

from berth.checkpoint.numbers import ModelNumbers
from berth.fit.budget import BLOCK
from berth.fit.engines import EngineName
from berth.fit.machines import cpu_node
from berth.fit.options import option
from berth.fit.request import FitRequest
from berth.fit.sharding import Layout, outline
from berth.fit.terms import CACHE, PROGRAMS, SERVER, Need, Term
from berth.fit.units import human

# Sequences at their longest that a model's cache has room for, if its size was not given and
# memory allows. More would take the place of another model.
SEQUENCES = 4

# The server's process is there once for all models, and so are the programs' pages.
_ONCE = frozenset({SERVER, PROGRAMS})


@dataclass(frozen=True, slots=True)
class Share:
    """What a model takes while it is loaded. Bytes."""

    bytes: int
    kv_cache_bytes: int  # of it, on each rank
    terms: tuple[Term, ...]  # of one rank

    def lines(self) -> list[str]:
        """The terms for people, a line each."""
        return [f"{term.name}: {human(term.bytes)}" for term in self.terms if term.bytes]


def share_of(
    numbers: ModelNumbers,
    *,
    engine: EngineName,
    total: int,
    room: int,
    degree: int = 1,
    dtype: str = "auto",
    max_model_len: int | None = None,
    max_num_seqs: int,
    max_batch_tokens: int,
    kv_cache_bytes: int | None = None,
    stored_bytes: int | None = None,
) -> Share:
    """A model's part of RAM.

    Args:
        total: bytes of the machine or its container.
        room: bytes that all models may take. A context that no room would hold is cut, as an engine
            that is alone does it.
        kv_cache_bytes: the operator's own size of a rank's cache, if any.

    Raises:
        FitInputError: the engine does not run the model so.
    """
    request = FitRequest(
        model=numbers,
        machine=cpu_node(total),
        engine=engine,
        dtype=dtype,
        batch_tokens=max(max_batch_tokens, max_num_seqs),
        max_num_seqs=max_num_seqs,
        tensor=degree,
        stored_bytes=stored_bytes,
    )
    (ledger,) = option(request, outline(numbers), Layout(degree)).ledgers
    context = max_model_len or request.wanted_context

    def share(context: int, sequences: int) -> Share:
        need = ledger.need(context, sequences)
        if kv_cache_bytes is not None:
            need = _with_cache(need, kv_cache_bytes)
        once = sum(need.of(name) for name in _ONCE)
        terms = tuple(term for term in need.terms if term.name not in _ONCE)
        return Share((need.bytes - once) * degree, need.of(CACHE), terms)

    found = share(context, min(SEQUENCES, max_num_seqs))
    if kv_cache_bytes is not None or found.bytes <= room:
        return found
    found = share(context, 1)
    while found.bytes > room and context > BLOCK and max_model_len is None:
        context = max(BLOCK, context // 2)
        found = share(context, 1)
    return found


def _with_cache(need: Need, size: int) -> Need:
    """The same with a cache of the operator's size."""
    terms = tuple(
        replace(term, bytes=size, low=size, high=size) if term.name == CACHE else term
        for term in need.terms
    )
    return replace(need, terms=terms)
