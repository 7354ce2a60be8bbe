"""What an engine takes before it has a model: data/runtime.csv, measured or marked otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from berth.fit.engines import EngineName, arithmetic
from berth.fit.table import load_table
from berth.fit.units import MIB


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes of one rank, with the interval in which they are expected."""

    bytes: int
    low: int
    high: int
    measured: bool
    source: str

    def plus(self, other: Overhead) -> Overhead:
        """Both together."""
        return Overhead(
            self.bytes + other.bytes,
            self.low + other.low,
            self.high + other.high,
            self.measured and other.measured,
            f"{self.source}; {other.source}",
        )

    def times(self, factor: int) -> Overhead:
        """So many of them."""
        return self.scaled(factor, 1)

    def scaled(self, factor: int, of: int) -> Overhead:
        """So many `of`-ths of it, rounded up."""
        size, low, high = (-(-n * factor // of) for n in (self.bytes, self.low, self.high))
        return Overhead(size, low, high, self.measured, self.source)


def runtime_overhead(
    engine: EngineName,
    kind: Literal["gpu", "cpu"],
    *,
    tensor: int,
    pipeline: int,
    layers: int,
    device_total: int,
) -> Overhead:
    """What the process, its libraries and the device's context take on one rank.

    Args:
        layers: of the rank's stage, if an overhead grows with them (CUDA graphs).
        device_total: bytes of the device: for a large one more graphs may be captured.
    """
    total = overhead(engine, kind, "base")
    if tensor > 1:
        total = total.plus(overhead(engine, kind, "parallel"))
    if pipeline > 1:
        total = total.plus(overhead(engine, kind, "pipeline"))
    if (engine, kind, "layer") in _table():
        sets = arithmetic(engine).graph_sets(device_total)
        total = total.plus(overhead(engine, kind, "layer").times(layers * sets))
    return total


def overhead(engine: EngineName, kind: Literal["gpu", "cpu"], item: str) -> Overhead:
    """One row of the table; zeros if there is none."""
    return _table().get((engine, kind, item), Overhead(0, 0, 0, True, "none"))


@cache
def _table() -> dict[tuple[str, str, str], Overhead]:
    return {
        (row["engine"], row["kind"], row["item"]): Overhead(
            int(float(row["mib"]) * MIB),
            int(float(row["low_mib"]) * MIB),
            int(float(row["high_mib"]) * MIB),
            row["measured"] == "yes",
            f"{row['source']} ({row['date']})",
        )
        for row in load_table("runtime")
    }
