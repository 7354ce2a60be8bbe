"""Measured points: how far the estimate was from what engines really took."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median

from berth.fit.table import load_table
from berth.fit.units import human


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run; see data/points.schema.json."""

    date: str
    engine: str
    kind: str
    device: str
    model: str
    dtype: str
    degree: int
    context: int
    concurrency: int
    batch_tokens: int
    estimated_bytes: int
    measured_bytes: int

    @property
    def error(self) -> float:
        """Of the estimate, as a part of what was measured; positive if it said too much."""
        return self.estimated_bytes / self.measured_bytes - 1

    @property
    def ran_out(self) -> bool:
        """It was said to fit, and ran out of memory."""
        return self.measured_bytes == 0


def load_points() -> list[Point]:
    """Those of the repository."""
    return [_point(row) for row in load_table("points")]


def _point(row: dict[str, str]) -> Point:
    numbers = {f.name: int(row[f.name]) for f in fields(Point) if f.type == "int"}
    return Point(**(row | numbers))  # type: ignore[arg-type]  # the schema has checked both


def to_csv(points: Iterable[Point]) -> str:
    """The whole file, header included."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    return out.getvalue()


def page(points: Sequence[Point]) -> str:
    """docs/fit-points.md."""
    lines = [
        "# Estimated against measured memory",
        "",
        "Written by `python -m tools.fit_measure page` from `src/berth/fit/data/points.csv`.",
        "Every row is a run of a real engine; the estimate is what `berth fit` says of one rank",
        "(see [fit.md](fit.md)), the measured value the peak of the rank that took most.",
        "",
    ]
    for kind, title in (("gpu", "On GPUs"), ("cpu", "On CPU")):
        lines += [f"## {title}", "", *_section([p for p in points if p.kind == kind], kind), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(points: Sequence[Point], kind: str) -> list[str]:
    if not points:
        where = "a GPU" if kind == "gpu" else "a CPU"
        return [f"Not yet measured on {where}."]
    errors = [abs(p.error) for p in points if not p.ran_out]
    lost = sum(p.ran_out for p in points)
    lines = [
        f"{len(points)} points; median error {median(errors):.1%}, worst {max(errors):.1%}; "
        f"{lost} that were said to fit ran out of memory."
        if errors
        else f"{len(points)} points; all ran out of memory.",
        "",
        "| date | engine | device | model | dtype | degree | tokens | step | estimated | measured "
        "| error |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return lines + [_row(point) for point in points]


def _row(p: Point) -> str:
    measured = "ran out" if p.ran_out else human(p.measured_bytes)
    error = "" if p.ran_out else f"{p.error:+.1%}"
    cells = (
        p.date,
        p.engine,
        p.device,
        p.model,
        p.dtype,
        p.degree,
        f"{p.context} x {p.concurrency}",
        p.batch_tokens,
        human(p.estimated_bytes),
        measured,
        error,
    )
    return "| " + " | ".join(map(str, cells)) + " |"
