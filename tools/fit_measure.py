"""Measure engines with random weights, and keep the points: `python -m tools.fit_measure cpu`.

    cpu    run the CPU points, each in engine processes of its own, and add them
    gpu    run the GPU points (`make gpu-fit`; at most ten minutes), and add them
    estimate  ask fit again about the CPU points that are kept
    page   write docs/fit-points.md anew

Weights are random: memory depends on shapes alone.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import click

import berth.fit
from berth.checkpoint.numbers import ModelNumbers, from_config_json, parameter_count
from berth.fit.machines import Machine, cpu_node, measured_gpu
from berth.fit.points import Point, load_points, page, to_csv
from berth.fit.request import FitRequest
from berth.fit.terms import PROGRAMS, SERVER
from tools import fit_measure_cpu

POINTS_FILE = Path(berth.fit.__file__).parent / "data" / "points.csv"
GPU_MINUTES = 9.0  # of the ten that `make gpu-fit` may take; what is left is not started


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One point to measure."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    dtype: str
    context: int
    concurrency: int
    batch_tokens: int = 1024
    degree: int = 1
    tied: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """As a config.json."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": self.tied,
            "torch_dtype": self.dtype,
            "rms_norm_eps": 1e-5,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }

    @property
    def numbers(self) -> ModelNumbers:
        return from_config_json(self.config)

    @property
    def title(self) -> str:
        billions = parameter_count(self.numbers) / 1e9
        return (
            f"{billions:.2f}B: {self.layers} x {self.hidden} / {self.heads} / {self.kv_heads} / "
            f"{self.vocab}"
        )

    def request(self, machine: Machine) -> FitRequest:
        return FitRequest(
            model=self.numbers,
            machine=machine,
            engine="native",
            context=self.context,
            concurrency=self.concurrency,
            dtype=self.dtype,
            tensor=self.degree,
            batch_tokens=self.batch_tokens,
            max_num_seqs=self.concurrency,
        )

    def estimate(self, machine: Machine) -> int:
        """Bytes that fit says one rank needs, without what is no memory of its own."""
        worst = berth.fit.fit(self.request(machine)).worst
        assert worst is not None, "these shapes can be shared by their degree"
        return worst.bytes - worst.of(SERVER) - worst.of(PROGRAMS)


def cpu_runs() -> list[Run]:
    """Sizes, degrees 1 and 2, contexts, float32 and bfloat16."""
    small = Run(
        layers=8, hidden=1024, heads=16, kv_heads=4, intermediate=2816, vocab=32000,
        dtype="float32", context=512, concurrency=4,
    )  # fmt: skip
    wide = Run(
        layers=6, hidden=2048, heads=16, kv_heads=16, intermediate=5632, vocab=32000,
        dtype="bfloat16", context=512, concurrency=2,
    )  # fmt: skip
    return [
        small,
        replace(small, context=2048, concurrency=2),
        replace(small, concurrency=16, context=256),
        replace(small, dtype="bfloat16"),
        replace(small, dtype="bfloat16", context=2048, concurrency=2),
        replace(small, tied=True),
        replace(small, batch_tokens=256),
        replace(small, degree=2),
        replace(small, degree=2, dtype="bfloat16"),
        wide,
        replace(wide, context=2048),
        replace(wide, degree=2),
        replace(wide, dtype="float32"),
        replace(wide, kv_heads=2, vocab=64000),
    ]


def gpu_runs(total: int) -> list[Run]:
    """At least 40 points up to what a card of `total` bytes holds, the small ones first."""
    shapes = [
        Run(layers=16, hidden=2048, heads=32, kv_heads=8, intermediate=8192, vocab=128256,
            dtype="bfloat16", context=2048, concurrency=8, tied=True),
        Run(layers=28, hidden=3072, heads=24, kv_heads=8, intermediate=8192, vocab=128256,
            dtype="bfloat16", context=2048, concurrency=8, tied=True),
        Run(layers=32, hidden=4096, heads=32, kv_heads=32, intermediate=11008, vocab=32000,
            dtype="float16", context=2048, concurrency=8),
        Run(layers=32, hidden=4096, heads=32, kv_heads=8, intermediate=14336, vocab=128256,
            dtype="bfloat16", context=2048, concurrency=8),
        Run(layers=40, hidden=5120, heads=40, kv_heads=40, intermediate=13824, vocab=32000,
            dtype="float16", context=2048, concurrency=8),
        Run(layers=48, hidden=6144, heads=48, kv_heads=8, intermediate=16384, vocab=32000,
            dtype="bfloat16", context=2048, concurrency=8),
        Run(layers=60, hidden=7168, heads=56, kv_heads=8, intermediate=20480, vocab=64000,
            dtype="bfloat16", context=2048, concurrency=4),
    ]  # fmt: skip
    found: list[Run] = []
    for shape in shapes:
        found += [
            shape,
            replace(shape, context=512),
            replace(shape, concurrency=1),
            replace(shape, concurrency=16),
            replace(shape, context=4096, concurrency=4),
            replace(shape, context=8192, concurrency=2),
            replace(shape, batch_tokens=2048),
            replace(shape, dtype="float32", context=1024, concurrency=4),
        ]
    device = measured_gpu("this GPU", total)
    machine = Machine(name="this GPU", device=device, count=1)
    return [run for run in found if berth.fit.fit(run.request(machine)).outcome == "fits"]


@click.group()
def main() -> None:
    """Measure engines against the estimate."""


@main.command()
@click.option("--only", type=int, help="This point alone, counted from 0; nothing is kept.")
@click.option("--repeats", default=3, show_default=True, help="Runs of a point; their median.")
def cpu(only: int | None, repeats: int) -> None:
    """Run the CPU points. Peaks differ by a few percent from run to run: the median is kept."""
    runs = cpu_runs()
    machine = cpu_node(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    points = []
    for index, run in enumerate(runs if only is None else [runs[only]]):
        peaks = [_measure_cpu(run) for _ in range(repeats)]
        device = fit_measure_cpu.cpu_name()
        points.append(_point(run, "cpu", device, run.estimate(machine), int(median(peaks))))
        click.echo(f"peaks: {', '.join(map(str, peaks))}", err=True)
        click.echo(f"{index + 1}/{len(runs)} {_line(points[-1])}", err=True)
    if only is None:
        _keep(points)


def _measure_cpu(run: Run) -> int:
    with tempfile.TemporaryDirectory(prefix="berth-fit-") as folder:
        return fit_measure_cpu.measure(Path(folder), run.config, asdict(run))


@main.command()
@click.option("--minutes", default=GPU_MINUTES, show_default=True, help="Start none after these.")
def gpu(minutes: float) -> None:
    """Run the GPU points, one process each."""
    from tools import fit_measure_gpu

    try:
        product, total = fit_measure_gpu.device()
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    machine = Machine(name=product, device=measured_gpu(product, total), count=1)
    until = time.monotonic() + minutes * 60
    points = []
    for run in gpu_runs(total):
        if time.monotonic() > until:
            click.echo("the time is over; larger points were not started", err=True)
            break
        command = [sys.executable, "-m", "tools.fit_measure_gpu", json.dumps(asdict(run))]
        ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if ended.returncode not in (0, fit_measure_gpu.RAN_OUT):
            raise click.ClickException(f"measuring {run.title} failed; see above")
        measured = int(ended.stdout) if ended.returncode == 0 else 0
        points.append(_point(run, "gpu", product, run.estimate(machine), measured))
        click.echo(_line(points[-1]), err=True)
    _keep(points)


@main.command()
def estimate() -> None:
    """Ask fit again about the CPU points, after a change of its formulas or constants."""
    machine = cpu_node(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    by_key = {_key(_point(run, "cpu", "", 0, 0))[2:]: run for run in cpu_runs()}
    points = []
    for point in load_points():
        run = by_key.get(_key(point)[2:]) if point.kind == "cpu" else None
        if run is not None:
            point = replace(point, estimated_bytes=run.estimate(machine))
        points.append(point)
        click.echo(_line(point), err=True)
    POINTS_FILE.write_text(to_csv(points), "utf-8")


@main.command(name="page")
@click.option("--to", type=click.Path(path_type=Path), default=Path("docs/fit-points.md"))
def write_page(to: Path) -> None:
    """Write the page of all points."""
    to.write_text(page(load_points()), "utf-8")


def _point(run: Run, kind: str, device: str, estimated: int, measured: int) -> Point:
    return Point(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        engine="native",
        kind=kind,
        device=device,
        model=run.title,
        dtype=run.dtype,
        degree=run.degree,
        context=run.context,
        concurrency=run.concurrency,
        batch_tokens=run.batch_tokens,
        estimated_bytes=estimated,
        measured_bytes=measured,
    )


def _keep(points: list[Point]) -> None:
    """Add points; those of the same run on the same device are replaced."""
    fresh = {_key(point) for point in points}
    kept = [point for point in load_points() if _key(point) not in fresh]
    POINTS_FILE.write_text(to_csv([*kept, *points]), "utf-8")


def _key(p: Point) -> tuple[object, ...]:
    return (
        p.engine, p.device, p.model, p.dtype, p.degree, p.context, p.concurrency, p.batch_tokens
    )  # fmt: skip


def _line(p: Point) -> str:
    error = "ran out of memory" if p.ran_out else f"{p.error:+.1%}"
    return (
        f"{p.model} {p.dtype} degree {p.degree}, {p.context} x {p.concurrency}: estimated "
        f"{p.estimated_bytes}, measured {p.measured_bytes}: {error}"
    )


if __name__ == "__main__":
    main()
