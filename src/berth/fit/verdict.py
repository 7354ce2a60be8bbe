"""The answer: whether it fits, every term, and what would have to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from berth.fit.machines import Machine
from berth.fit.request import FitRequest
from berth.fit.sharding import Layout
from berth.fit.terms import Need, Term

Outcome = Literal["fits", "fits with less", "does not fit"]
ChangeKind = Literal["context", "concurrency", "dtype", "kv_dtype", "tensor", "quantize", "sku"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change after which it fits, with everything else unchanged."""

    kind: ChangeKind
    value: str | int
    text: str  # a clause: "a context of 8,192 tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `fit` found. Sizes in bytes; terms are of the rank that needs most."""

    request: FitRequest
    outcome: Outcome
    # Whether to go ahead: it fits as asked; with less, if so much was not asked for by name.
    accepted: bool
    layout: Layout | None  # None: no layout is possible
    context: int  # tokens, as asked or as the model is made for
    concurrency: int
    needs: tuple[Need, ...]  # one for each pipeline stage
    node_terms: tuple[Term, ...]  # RAM, /dev/shm and disk of a node
    usable: int  # bytes of its device that a rank may take
    max_context: int  # tokens that fit with `concurrency`; 0: not even one block
    max_concurrency: int  # sequences of `context` tokens that fit
    binding: str  # the term that decides, or "sharding", "gpu count"
    headlines: tuple[str, ...]  # the seed's message forms, if they apply
    conflicts: tuple[str, ...]  # why layouts that were looked at are impossible
    changes: tuple[Change, ...]  # the smallest first
    notes: tuple[str, ...]

    @property
    def worst(self) -> Need | None:
        """The rank that needs most."""
        return max(self.needs, key=lambda need: need.bytes, default=None)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Of the rank that needs most, and of the node."""
        worst = self.worst
        return (*(worst.terms if worst else ()), *self.node_terms)

    @property
    def need(self) -> int:
        """Bytes that a rank needs of its device."""
        return self.worst.bytes if self.worst else 0

    @property
    def machine(self) -> Machine:
        return self.request.machine

    @property
    def gpus_used(self) -> int:
        return self.layout.ranks if self.layout else 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        request, worst = self.request, self.worst
        return {
            "model": request.name,
            "machine": request.machine.name,
            "device": request.machine.device.product,
            "device_kind": request.machine.device.kind,
            "devices": request.machine.count * request.nodes,
            "engine": request.engine,
            "outcome": self.outcome,
            "accepted": self.accepted,
            "context": self.context,
            "concurrency": self.concurrency,
            "max_context": self.max_context,
            "max_concurrency": self.max_concurrency,
            "tensor": self.layout.tensor if self.layout else None,
            "pipeline": self.layout.pipeline if self.layout else None,
            "dtype": request.resolved_dtype,
            "quantization": request.scheme.name if request.scheme else None,
            "kv_dtype": request.kv_dtype,
            "device_bytes": request.machine.device.total,
            "device_bytes_known": request.machine.device.known,
            # Null if no layout is possible: nothing was computed.
            "usable_bytes": self.usable if worst else None,
            "need_bytes": worst.bytes if worst else None,
            "need_bytes_low": worst.low if worst else None,
            "need_bytes_high": worst.high if worst else None,
            "terms": [_term(term) for term in self.terms],
            "binding": self.binding,
            "messages": list(self.headlines),
            "conflicts": list(self.conflicts),
            "changes": [{"kind": c.kind, "value": c.value, "text": c.text} for c in self.changes],
            "notes": list(self.notes),
        }


def _term(term: Term) -> dict[str, Any]:
    return {
        "name": term.name,
        "resource": term.resource,
        "bytes": term.bytes,
        "low": term.low,
        "high": term.high,
        "exact": term.exact,
        "at_start_only": term.starting,
        "note": term.note,
    }
