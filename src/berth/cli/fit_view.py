"""How berth fit draws a verdict in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from berth.cli.columns import print_columns
from berth.fit.terms import (
    ACTIVATIONS,
    CACHE,
    LOADING,
    LOGITS,
    PROGRAMS,
    RUNTIME,
    SCORES,
    SERVER,
    SLACK,
    TABLES,
    WEIGHTS,
    Need,
)
from berth.fit.units import human
from berth.fit.verdict import Verdict

WIDTH = 44
# Each with a letter of its own: the bar must be read without colours too.
_LOOKS = {
    WEIGHTS: ("W", "blue"),
    CACHE: ("K", "green"),
    ACTIVATIONS: ("A", "yellow"),
    SCORES: ("S", "dark_orange"),
    LOGITS: ("L", "magenta"),
    TABLES: ("T", "bright_black"),
    SLACK: ("a", "yellow"),
    RUNTIME: ("R", "cyan"),
    SERVER: ("H", "bright_cyan"),
    PROGRAMS: ("P", "bright_black"),
    LOADING: ("l", "bright_black"),
}


def bars(verdict: Verdict) -> list[Text]:
    """A bar for each GPU (or for the node's memory), and what its letters mean."""
    assert verdict.layout is not None, "there is nothing to draw"
    lines: list[Text] = []
    used: set[str] = set()
    rank = 0
    kind = "GPU" if verdict.machine.device.kind == "gpu" else "rank"
    total = _total(verdict)
    for need in verdict.needs:
        for _ in range(verdict.layout.tensor):
            lines.append(_bar(f"{kind} {rank}", need, total, used))
            rank += 1
    if kind == "GPU":
        for idle in range(rank, verdict.machine.count * verdict.request.nodes):
            lines.append(Text(f"{kind + ' ' + str(idle):<8}|{'.' * WIDTH}| not used"))
    legend = Text(" " * 9)
    for name, (letter, style) in _LOOKS.items():
        if name in used:
            legend.append(letter, style=style)
            legend.append(f" {name}  ")
    return [*lines, legend]


def _total(verdict: Verdict) -> int:
    """Bytes of the device that one rank has to itself."""
    assert verdict.layout is not None
    total = verdict.machine.device.total
    if verdict.machine.device.kind == "cpu":
        total = total * verdict.request.nodes // max(verdict.layout.ranks, verdict.request.nodes)
    return total


def _bar(title: str, need: Need, total: int, used: set[str]) -> Text:
    """Each letter is 1/44 of the device; what is too much is drawn beyond its end."""
    bar = Text(f"{title:<8}|")
    drawn = 0
    sofar = 0
    for term in need.terms:
        if term.starting or not term.bytes:
            continue
        sofar += term.bytes
        upto = round(sofar / total * WIDTH)
        letter, style = _LOOKS[term.name]
        inside = min(upto, WIDTH) - min(drawn, WIDTH)
        bar.append(letter * inside, style=style)
        if inside:
            used.add(term.name)
        drawn = upto
    bar.append("." * max(0, WIDTH - drawn))
    bar.append("|")
    if drawn > WIDTH:
        over = min(drawn - WIDTH, WIDTH // 3)
        bar.append(">" * over, style="red")
    bar.append(f" {human(need.bytes)} of {human(total)}")
    return bar


def print_skus(verdicts: Sequence[Verdict]) -> None:
    """Instance types, in the order given, with what fits and how much."""
    rows = []
    for verdict in verdicts:
        machine = verdict.machine
        gpu = machine.device.kind == "gpu"
        rows.append(
            (
                machine.name,
                f"{machine.count} x {machine.device.product}" if gpu else "CPU",
                human(machine.count * machine.device.total),
                verdict.outcome,
                _ranks(verdict),
                f"{verdict.max_context:,}" if verdict.max_context else "-",
                f"{verdict.max_concurrency:,}" if verdict.max_concurrency else "-",
            )
        )
    titles = ("instance type", "devices", "memory", "verdict", "ranks", "tokens", "sequences")
    print_columns(titles, rows, right=("memory", "tokens", "sequences"))


def _ranks(verdict: Verdict) -> str:
    """tp 4: four ranks share each layer; pp 2: two stages follow one another."""
    if verdict.layout is None:
        return verdict.binding
    tensor, pipeline = verdict.layout.tensor, verdict.layout.pipeline
    parts = [f"tp {tensor}"] if tensor > 1 else []
    return " ".join([*parts, f"pp {pipeline}"] if pipeline > 1 else parts) or "1"
