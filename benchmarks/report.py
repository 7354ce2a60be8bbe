"""From the record of a benchmark to its table. Pure: the record is what the JSON file holds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.shapes import SHAPES, Shape

Record = dict[str, Any]
Row = list[str]

BERTH = "berth"
HEADINGS = ["at once", "engine", "output tok/s", "TTFT ms", "inter-token ms", "Berth is"]


def speed_rows(shape: Record) -> list[Row]:
    """One row per concurrency and engine: medians over the rounds, and Berth's ratio to it."""
    rows = []
    for level in shape["levels"]:
        for engine in shape["engines"]:
            cells = _cells(shape, level, engine)
            good = [cell for cell in cells if "error" not in cell]
            failures = [cell["error"] for cell in cells if "error" in cell]
            row = [str(level), engine]
            if good:
                row += [
                    _number(median(cell["tokens_per_second"] for cell in good)),
                    _time(good, "ttft"),
                    _time(good, "inter_token"),
                    _ratio(pair_ratios(shape, level, engine)),
                ]
            else:
                row += ["–"] * 4
            if failures:
                row[-1] += f" ({len(failures)} of {len(cells)} runs failed: {failures[0]})"
            if cells:
                rows.append(row)
    return rows


def pair_ratios(shape: Record, level: int | str, engine: str) -> list[float]:
    """Berth's tokens per second over the engine's, for each round in which both succeeded.

    Runs of one round are neighbours in time, so that the machine's noise hits both.
    """
    if engine == BERTH:
        return []
    rates = {
        name: {c["round"]: c["tokens_per_second"] for c in _cells(shape, level, name)
               if "error" not in c}
        for name in (BERTH, engine)
    }  # fmt: skip
    rounds = rates[BERTH].keys() & rates[engine].keys()
    return [rates[BERTH][one] / rates[engine][one] for one in sorted(rounds)]


def share_rows(shape: Record) -> list[Row]:
    """What each engine makes of the machine: start, prefill, shares of the ceilings."""
    size = SHAPES[shape["name"]]
    bandwidth, flops = best_ceilings(shape)
    rows = []
    for engine in shape["engines"]:
        start = shape["starts"].get(engine)
        row = [engine, "–" if start is None else _start(start)]
        alone = _rates(shape, 1, engine)
        share = size.decode_bytes * median(alone) / bandwidth if alone and bandwidth else None
        row.append("–" if share is None else f"{share:.0%}")
        row += _prefill(shape, size, engine, flops)
        rows.append(row)
    return rows


SHARE_HEADINGS = ["engine", "start to first token", "of bandwidth, 1 at once", "prefill tok/s",
                  "of bf16 rate", "Berth is (prefill)"]  # fmt: skip


def _prefill(shape: Record, size: Shape, engine: str, flops: float | None) -> Row:
    cells = [c for c in _cells(shape, "prefill", engine) if "error" not in c]
    if not cells:
        return ["–"] * 3
    seconds = median(cell["ttft"]["p50"] for cell in cells)
    tokens = size.prefill_tokens
    share = size.prefill_flops(tokens) / seconds / flops if flops else None
    return [
        _number(tokens / seconds),
        "–" if share is None else f"{share:.0%}",
        _ratio(pair_ratios(shape, "prefill", engine)),
    ]


def overhead_lines(shape: Record) -> list[str]:
    """CPU time that is not the engine's, pooled over the rounds (the kernel counts in 10 ms)."""
    lines = []
    for level in shape["levels"]:
        cells = [
            c for c in _cells(shape, level, BERTH) if c.get("server_cpu_per_token") is not None
        ]
        tokens = sum(cell["output_tokens"] for cell in cells)
        if tokens:
            server, client = (
                sum(cell[who] * cell["output_tokens"] for cell in cells) / tokens * 1e6
                for who in ("server_cpu_per_token", "client_cpu_per_token")
            )
            lines.append(f"{level} at once: Berth's server process takes {server:.0f} µs of CPU "
                         f"per token, the load client {client:.0f} µs")  # fmt: skip
    if (idle := shape.get("berth_idle_cpu_share")) is not None:
        lines.append(f"Berth idle (while the others run): {idle:.1%} of one core")
    return lines


def best_ceilings(shape: Record) -> tuple[float | None, float | None]:
    """The best bandwidth and bf16 rate of all measurements; None where none succeeded."""
    found: Sequence[Record] = shape["ceilings"]
    if not found:
        return None, None
    return max(c["bytes_per_second"] for c in found), max(c["bf16_flops"] for c in found)


def markdown(record: Record) -> str:
    """The page that goes beside the JSON file."""
    machine = record["machine"]
    features = ", ".join(machine["cpu_features"])
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    gpu = f" GPU: {machine['gpu']}, {machine['gpu_memory_gib']} GiB." if "gpu" in machine else ""
    lines = [
        f"# Benchmark of {record['date'][:10]}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({features}), {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}.{gpu} {libraries}.",
        "",
        "How it was measured, and how to repeat it: [README.md](README.md).",
    ]
    if not record["complete"]:
        lines += ["", "**The run did not finish; these are the figures it had.**"]
    for shape in record["shapes"]:
        lines += ["", *_shape_lines(shape)]
    return "\n".join(lines) + "\n"


def _shape_lines(shape: Record) -> list[str]:
    bandwidth, flops = best_ceilings(shape)
    limits = "not measured"
    if bandwidth and flops:
        limits = f"{bandwidth / 1e9:.1f} GB/s of memory, {flops / 1e12:.2f} TFLOP/s in bf16"
    return [
        f"## {title(shape)}",
        "",
        f"The machine's ceilings, measured before and after: {limits}.",
        "",
        *_table(HEADINGS, speed_rows(shape)),
        "",
        *_table(SHARE_HEADINGS, share_rows(shape)),
        "",
        *(f"- {line}" for line in overhead_lines(shape)),
        *(f"- Failed: {failure}" for failure in shape["failures"]),
    ]


def title(shape: Record) -> str:
    """What was run."""
    return (f"{shape['name']}: {shape['input_tokens']} tokens in, {shape['output_tokens']} out, "
            f"greedy, median of {shape['rounds']}")  # fmt: skip


def _table(headings: Row, rows: list[Row]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *escaped)]


def _cells(shape: Record, level: int | str, engine: str) -> list[Record]:
    return [c for c in shape["cells"] if c["level"] == level and c["engine"] == engine]


def _rates(shape: Record, level: int, engine: str) -> list[float]:
    good = (cell for cell in _cells(shape, level, engine) if "error" not in cell)
    return [cell["tokens_per_second"] for cell in good]


def _time(cells: list[Record], name: str) -> str:
    """p50 and p99, each the median over the rounds."""
    known = [cell[name] for cell in cells if cell[name] is not None]
    if not known:
        return "–"
    middle, worst = (median(spread[p] for spread in known) * 1e3 for p in ("p50", "p99"))
    return f"{_number(middle)} (p99 {_number(worst)})"


def _ratio(ratios: list[float]) -> str:
    if not ratios:
        return ""
    return f"{median(ratios):.2f} × ({min(ratios):.2f} to {max(ratios):.2f})"


def _start(start: Record) -> str:
    return f"{start['second']:.1f} s (first time {start['first']:.1f} s)"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
