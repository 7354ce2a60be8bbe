"""The terms of one rank: what each thing takes, how sure that is, and what it takes it from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from berth.fit.cache_size import cache_bytes
from berth.fit.engines import EngineName, arithmetic
from berth.fit.engines.base import Loading
from berth.fit.request import FitRequest
from berth.fit.runtime import Overhead, overhead, runtime_overhead
from berth.fit.sharding import Layout, Outline, Stage, model_bytes, sizes_agree
from berth.fit.units import ELEMENT_BYTES, MIB, ceil_bytes, ceil_div
from berth.fit.widths import Step, widths
from berth.protocol.engines import ENGINES

Resource = Literal["device", "host", "shm", "disk"]
ENGINE_KINDS: tuple[str, ...] = tuple(ENGINES)  # those that Berth's server runs

WEIGHTS = "weights"
CACHE = "kv cache"
ACTIVATIONS = "activations"
SCORES = "attention scores"
LOGITS = "logits"
TABLES = "rotary tables"
RUNTIME = "runtime overhead"
SERVER = "server"
PROGRAMS = "programs"
LOADING = "load transient"
SLACK = "allocator slack"
HOST = "host memory"
SHM = "/dev/shm"
DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """Bytes of one thing, in an interval; `exact` if it is a sum and not an estimate."""

    name: str
    bytes: int
    low: int
    high: int
    exact: bool
    resource: Resource = "device"
    # While weights load, and before there is a cache: it and what serving needs take turns.
    starting: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one rank needs of its device. All ranks of a stage are alike."""

    stage: int
    terms: tuple[Term, ...]

    @property
    def bytes(self) -> int:
        """At the widest moment: all that stays, and the larger of starting and serving."""
        return self._sum("bytes")

    @property
    def low(self) -> int:
        return self._sum("low")

    @property
    def high(self) -> int:
        return self._sum("high")

    def of(self, name: str) -> int:
        """Bytes of one term; 0 if there is none."""
        return sum(term.bytes for term in self.terms if term.name == name)

    def _sum(self, which: Literal["bytes", "low", "high"]) -> int:
        stays = serving = starting = 0
        for term in self.terms:
            size: int = getattr(term, which)
            if term.starting:
                starting += size
            elif term.name in SERVING:
                serving += size
            else:
                stays += size
        return stays + max(serving, starting)


SERVING = frozenset({CACHE, ACTIVATIONS, SCORES, LOGITS, SLACK})


def _exact(name: str, size: int, note: str = "") -> Term:
    return Term(name=name, bytes=size, low=size, high=size, exact=True, note=note)


def _within(name: str, size: int, spread: float, note: str = "") -> Term:
    """An estimate, `spread` of itself to either side."""
    return Term(
        name=name,
        bytes=size,
        low=int(size * (1 - spread)),
        high=int(size * (1 + spread)),
        exact=False,
        note=note,
    )


class Ledger:
    """A layout's ranks, ready to be asked for any context and concurrency. Cheap to ask."""

    def __init__(self, request: FitRequest, plan: Outline, layout: Layout, stage: Stage) -> None:
        self.request = request
        self.layout = layout
        self.stage = stage
        self._engine = arithmetic(request.engine)
        self._kind = request.machine.device.kind
        self._total = request.machine.device.total
        self._ranks_here = ceil_div(layout.ranks, request.nodes)
        self._fixed = self._fixed_terms(plan)

    def need(self, context: int, concurrency: int) -> Need:
        """What a rank of this stage needs for so many sequences of so many tokens."""
        return Need(
            stage=self.stage.index,
            terms=(*self._fixed, *self._tables(context), *self._serving(context, concurrency)),
        )

    def _fixed_terms(self, plan: Outline) -> tuple[Term, ...]:
        request = self.request
        runtime = runtime_overhead(
            request.engine,
            self._kind,
            tensor=self.layout.tensor,
            pipeline=self.layout.pipeline,
            layers=sum(count for _, count in self.stage.layers),
            device_total=self._total,
        )
        # The tensors of a scheme that mixes widths, and ranks' shares of a surplus we cannot name.
        exact = (
            (request.scheme is None or request.scheme.exact)
            and not request.model.missing
            and sizes_agree(request, plan)
        )
        size = self.stage.weight_bytes
        beside = (
            beside_the_engine(request.engine, request.model.vocab, self._ranks_here)
            if self._kind == "cpu"
            else ()
        )
        weights = (
            _exact(WEIGHTS, size)
            if exact
            else _within(WEIGHTS, size, 0.05, "; ".join(request.model.missing))
        )
        loading = self._engine.load_transient(
            Loading(
                numbers=request.model,
                layers=self.stage.layers,
                degree=self.layout.tensor,
                largest=self.stage.largest,
                element=request.element,
                stored=ELEMENT_BYTES[request.stored_dtype],
                packed=request.scheme is not None,
            ),
            self._kind,
        )
        exact_loading = self._engine.exact_loading
        return (
            weights,
            _term(RUNTIME, runtime),
            *beside,
            Term(
                name=LOADING,
                bytes=loading,
                low=loading if exact_loading else 0,
                high=loading,
                exact=exact_loading,
                starting=True,
            ),
        )

    def _tables(self, context: int) -> tuple[Term, ...]:
        size = self._engine.tables(self.stage.layers, context, self.request.model.rotations)
        return () if size is None else (_exact(TABLES, size),)

    def _serving(self, context: int, concurrency: int) -> tuple[Term, ...]:
        request, stage, degree, engine = self.request, self.stage, self.layout.tensor, self._engine
        given = request.batch_tokens
        at_once = engine.at_once(concurrency, request.max_num_seqs)
        tokens = engine.step_tokens(
            engine.default_batch_tokens(self._total) if given is None else given, at_once
        )
        cache = cache_bytes(
            stage.layers,
            degree=degree,
            context=context,
            concurrency=concurrency,
            element=request.kv_element,
            engine=request.engine,
            batch_tokens=tokens,
        )
        step = Step(tokens, concurrency, context, request.gather_tokens, at_once)
        terms = [
            _exact(CACHE, cache),
            _within(ACTIVATIONS, self._activations(step), engine.activation_spread),
        ]
        scores = engine.scores(stage.layers, step, degree=degree, kind=self._kind)
        if scores is not None:
            terms.append(Term(name=SCORES, bytes=scores, low=0, high=scores, exact=False))
        if stage.last and request.model.generates:
            size = engine.logits(
                request.model.vocab,
                step,
                degree=degree,
                element=request.element,
                device_total=self._total,
            )
            terms.append(_within(LOGITS, size, 0.1))
        return (*terms, *self._slack(terms))

    def _activations(self, step: Step) -> int:
        """Of the widest layer."""
        kinds = {
            widths(self.request.model.hidden, layer, self.layout.tensor)
            for layer, _ in self.stage.layers
        }
        element, kind = self.request.element, self._kind
        return max((self._engine.activations(one, step, element, kind) for one in kinds), default=0)

    def _slack(self, terms: list[Term]) -> tuple[Term, ...]:
        """What the allocator keeps of memory that steps take and give back."""
        found = overhead(self.request.engine, self._kind, "slack_percent")
        passing = sum(t.bytes for t in terms if t.name in (ACTIVATIONS, LOGITS))
        if not found.bytes:
            return ()
        size, low, high = (
            passing * percent // (100 * MIB) for percent in (found.bytes, found.low, found.high)
        )
        slack = Term(name=SLACK, bytes=size, low=low, high=high, exact=False, note=found.source)
        return (slack,)


def beside_the_engine(engine: EngineName, vocabulary: int, ranks_here: int) -> tuple[Term, ...]:
    """What a server on a CPU node takes that no rank's own memory is: each rank's part of it.

    The server's process, with a tokenizer that grows with the vocabulary, and the pages of the
    programs' files. The kernel counts those to the container that read them first and could take
    them back, but nothing runs without.
    """
    if engine not in ENGINE_KINDS:
        return ()
    tokenizer = overhead(engine, "cpu", "tokenizer").scaled(vocabulary, 1000)
    server = overhead(engine, "cpu", "server").plus(tokenizer)
    programs = overhead(engine, "cpu", "programs")
    return (
        _term(SERVER, server.scaled(1, ranks_here)),
        _term(PROGRAMS, programs.scaled(1, ranks_here)),
    )


def _term(name: str, found: Overhead, resource: Resource = "device") -> Term:
    return Term(
        name=name,
        bytes=found.bytes,
        low=found.low,
        high=found.high,
        exact=False,
        resource=resource,
        note=found.source,
    )


def node_terms(request: FitRequest, plan: Outline, layout: Layout, largest: int) -> list[Term]:
    """What a node must have besides its devices: RAM, /dev/shm, disk for the weights."""
    ranks = min(layout.ranks, request.machine.count)
    found: list[Term] = []
    if request.machine.device.kind == "gpu":
        host = overhead(request.engine, "gpu", "host").times(ranks)
        found.append(_term(HOST, host.plus(Overhead(largest, 0, largest, True, "")), "host"))
        if layout.ranks > 1:
            size = arithmetic(request.engine).shared_memory(ranks)
            found.append(
                Term(
                    name=SHM,
                    bytes=size,
                    low=32 * MIB,
                    high=size,
                    exact=False,
                    resource="shm",
                )
            )
    stored = request.stored_bytes or _stored_size(request, plan)
    found.append(
        Term(name=DISK, bytes=stored, low=stored, high=stored, exact=True, resource="disk")
    )
    return found


def _stored_size(request: FitRequest, plan: Outline) -> int:
    """Bytes of the checkpoint, in the format in which it is stored."""
    size = model_bytes(request, plan)
    if request.scheme is not None:
        return size
    return ceil_bytes(size, ELEMENT_BYTES[request.stored_dtype] / request.element)
