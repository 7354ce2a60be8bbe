"""A verdict in sentences."""

from __future__ import annotations

from berth.fit.terms import Term
from berth.fit.units import human, unlike
from berth.fit.verdict import Verdict


def explain(verdict: Verdict) -> list[str]:
    """Lines for people: what was refused and why, the terms, what would have to change.

    A refusal is headed by the seed's message forms (KAITO's webhook), if they apply.
    """
    lines = list(verdict.headlines)
    lines.append(_summary(verdict))
    if verdict.layout is None:
        lines += [f"  {reason}" for reason in verdict.conflicts]
    else:
        lines += _terms(verdict)
        lines += _reach(verdict)
    lines += [f"note: {note}" for note in verdict.notes]
    if verdict.changes:
        lines.append("It would fit with " + ", or ".join(c.text for c in verdict.changes) + ".")
    elif verdict.outcome != "fits":
        lines.append("No single change that we know of makes it fit.")
    return lines


def _summary(verdict: Verdict) -> str:
    request = verdict.request
    layout = f", {verdict.layout}" if verdict.layout and verdict.layout.ranks > 1 else ""
    asked = f"{verdict.context:,} tokens x {verdict.concurrency}"
    less = f"{verdict.max_context:,} tokens x {verdict.concurrency}"
    said, machine = f"{request.name} {verdict.outcome}", request.machine.name
    if verdict.outcome == "fits with less":
        # The context is the model's own, or one that was asked for and cannot be had.
        said = f"{request.name} fits with {less}" if verdict.accepted else (
            f"{request.name} does not fit with {asked}, it would with {less},"
        )  # fmt: skip
    return f"{said} on {machine} ({request.engine}{layout}; {asked}; decided by {verdict.binding})"


def _terms(verdict: Verdict) -> list[str]:
    worst = verdict.worst
    assert worst is not None, "a layout has at least one stage"
    sign = "<=" if worst.bytes <= verdict.usable else ">"
    where = "GPU" if verdict.machine.device.kind == "gpu" else "rank"
    needed, usable = unlike(worst.bytes, verdict.usable)
    lines = [
        f"  each {where}: {needed} needed {sign} {usable} usable "
        f"of {human(verdict.machine.device.total)}, for {verdict.context:,} tokens x "
        f"{verdict.concurrency}"
    ]
    lines += [f"    {_line(term)}" for term in worst.terms if term.bytes]
    lines.append("  each node:")
    lines += [f"    {_line(term)}" for term in verdict.node_terms]
    return lines


def _line(term: Term) -> str:
    line = f"{term.name:<18}{human(term.bytes):>10}"
    if not term.exact:
        line += f"  ({human(term.low)} to {human(term.high)})"
    return line + ("  while loading, before the cache" if term.starting else "")


def _reach(verdict: Verdict) -> list[str]:
    if verdict.max_context == 0:
        return []
    if verdict.outcome == "fits":
        return [
            f"  room for {verdict.max_concurrency:,} sequences of {verdict.context:,} tokens "
            "at a time"
        ]
    return [f"  room for {verdict.max_context:,} tokens x {verdict.concurrency}"]
