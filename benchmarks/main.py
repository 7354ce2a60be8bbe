"""`make bench`: Berth over HTTP against transformers, on the same weights, prompts and machine.

Every figure is written as soon as it is there, so that an interrupted run loses none.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.engines import Berth, Contender, Failed, HttpServer, Transformers
from benchmarks.machine import describe, slug
from benchmarks.model_folder import model_folder
from benchmarks.shapes import SHAPES, Shape
from berth.cli.load import make_prompts

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "bench"
_WARM_UP_TOKENS = 8
# A pipe or a log file has no width of its own.
console = Console(width=None if sys.stdout.isatty() else 120)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--shape",
    "names",
    type=click.Choice(list(SHAPES)),
    multiple=True,
    help="Model to make and measure; repeatable. [default: S and M]",
)
@click.option("--quick", is_flag=True, help="S alone, one round, short answers; for development.")
@click.option("--rounds", type=click.IntRange(1), help="Runs of each cell. [default: 3]")
@click.option("--rivals/--no-rivals", default=True, help="Run transformers too.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME=URL",
    help="Measure a running OpenAI-compatible server too; it serves the same folder.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--serve-option",
    "options",
    multiple=True,
    metavar="OPTION",
    help="Passed on to berth serve, like --serve-option=--threads=2.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the results. [default: docs/benchmarks; build/bench/results for "
    "--quick and tiny]",
)
def main(
    names: tuple[str, ...], quick: bool, rounds: int | None, rivals: bool,
    peers: tuple[str, ...], device: str, options: tuple[str, ...], out: Path | None,
) -> None:  # fmt: skip
    """Measure Berth and its rivals; print a table and write docs/benchmarks."""
    shapes = [SHAPES[name] for name in names or (("S",) if quick else ("S", "M"))]
    if quick:
        shapes = [replace(s, output_tokens=min(32, s.output_tokens), solo_requests=1)
                  for s in shapes]  # fmt: skip
        rounds = rounds or 1
    development = quick or any(shape.name == "tiny" for shape in shapes)
    folder = out or (CACHE / "results" if development else ROOT / "docs" / "benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    (CACHE / "logs").mkdir(parents=True, exist_ok=True)
    bench = _Benchmark(folder, device, rounds or 3)
    complete = False
    try:
        for shape in shapes:
            bench.measure(shape, rivals, _peers(peers), options)
        complete = True
    finally:
        bench.finish(complete)
    if any(shape["failures"] for shape in bench.record["shapes"]):
        sys.exit(1)


def _peers(named: Sequence[str]) -> list[Contender]:
    peers: list[Contender] = []
    for one in named:
        name, equals, url = one.partition("=")
        try:
            if not (name and equals):
                raise ValueError(f"{one!r} should be NAME=URL")
            peers.append(HttpServer(name, url))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--peer") from None
    return peers


class _Benchmark:
    """The record as it grows."""

    def __init__(self, folder: Path, device: str, rounds: int) -> None:
        self._device, self._rounds = device, rounds
        machine = describe(device)
        now = datetime.now(UTC)
        self._path = folder / f"{now:%Y-%m-%d}-{slug(machine)}.json"
        self.record: report.Record = {
            "date": now.isoformat(timespec="seconds"),
            "machine": machine,
            "device": device,
            "complete": False,
            "shapes": [],
        }

    def measure(
        self, shape: Shape, rivals: bool, peers: Sequence[Contender], options: Sequence[str]
    ) -> None:
        """All figures of one shape."""
        console.print(f"[bold]{shape.name}[/]: making the model's folder")
        model = model_folder(shape, CACHE)
        logs, device = CACHE / "logs", self._device
        contenders: list[Contender] = [
            Berth(shape, model, device, logs / f"{shape.name}-berth.log", options)
        ]
        if rivals:
            contenders += [
                Transformers(kind, model, device, logs / f"{shape.name}-{kind}.log")
                for kind in ("generate", "continuous")
            ]
        contenders += peers
        entry: report.Record = {
            "name": shape.name,
            "rounds": self._rounds,
            "levels": list(shape.levels),
            "input_tokens": shape.input_tokens,
            "output_tokens": shape.output_tokens,
            "prefill_tokens": shape.prefill_tokens,
            "engines": [contender.name for contender in contenders],
            "ceilings": [],
            "starts": {},
            "cells": [],
            "failures": [],
        }
        self.record["shapes"].append(entry)
        self._ceilings(entry)
        with _stopped_at_the_end(contenders):
            running = [c for c in contenders if self._start(entry, c)]
            self._run_all(entry, shape, running)
        self._ceilings(entry)
        _show(entry)

    def _ceilings(self, entry: report.Record) -> None:
        command = [sys.executable, "-m", "benchmarks.ceilings", self._device]
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=False)
        if done.returncode == 0:
            entry["ceilings"].append(json.loads(done.stdout))
        else:
            entry["failures"].append("the machine's ceilings could not be measured")
        self._save()

    def _start(self, entry: report.Record, contender: Contender) -> bool:
        """Start twice: the first time fills the caches, the second is what a restart takes."""
        try:
            first = contender.start()
            if first is not None:
                contender.stop()
                second = contender.start()
                entry["starts"][contender.name] = {"first": first, "second": second}
                console.print(f"  {contender.name}: first token after {second:.1f} s")
            contender.pause()
        except Failed as error:
            contender.stop()
            entry["failures"].append(f"{contender.name} did not start: {error}")
            console.print(f"  {contender.name} did not start: {error}", style="red")
            return False
        finally:
            self._save()
        return True

    def _run_all(self, entry: report.Record, shape: Shape, running: list[Contender]) -> None:
        """Every level and then prefill, the contenders taking turns within each round."""
        idle = _Idle(running)
        for level in (*shape.levels, "prefill"):
            concurrency = level if isinstance(level, int) else 1
            count = shape.requests(concurrency) if level != "prefill" else 1
            size = shape.input_tokens if level != "prefill" else shape.prefill_tokens
            for number in range(-1, self._rounds):  # -1: warm-up
                prompts = _prompts(shape, count, size, f"{shape.name}/{level}/{number}")
                output = 1 if level == "prefill" else shape.output_tokens
                if number < 0:
                    prompts, output = prompts[:concurrency], min(_WARM_UP_TOKENS, output)
                # Each goes first in turn, should it matter who does.
                turn = max(0, number) % max(1, len(running))
                for contender in running[turn:] + running[:turn]:
                    with idle.except_for(contender):
                        cell = _cell(contender, prompts, output, concurrency)
                    if number >= 0:
                        key = {"level": level, "engine": contender.name, "round": number}
                        self._keep(entry, key | cell)
                        entry["berth_idle_cpu_share"] = idle.share()
        self._save()

    def _keep(self, entry: report.Record, cell: dict[str, Any]) -> None:
        entry["cells"].append(cell)
        where = f"  {cell['level']:>7} · round {cell['round'] + 1} · {cell['engine']}"
        if "error" in cell:
            what = f"{cell['engine']} at {cell['level']}, round {cell['round'] + 1}"
            entry["failures"].append(f"{what}: {cell['error']}")
            console.print(f"{where}: {cell['error']}", style="red", markup=False)
        else:
            console.print(f"{where}: {cell['tokens_per_second']:.1f} tok/s", highlight=False)
        self._save()

    def _save(self) -> None:
        unfinished = self._path.with_suffix(".partial")
        unfinished.write_text(json.dumps(self.record, indent=1) + "\n")
        unfinished.rename(self._path)

    def finish(self, complete: bool) -> None:
        """Write the page beside the figures, whatever there is of them."""
        self.record["complete"] = complete
        self._save()
        page = self._path.with_suffix(".md")
        page.write_text(report.markdown(self.record))
        console.print(f"Written: {page.name} and {self._path.name}")


class _Idle:
    """How much CPU Berth takes while it has nothing to do and another contender runs."""

    def __init__(self, running: Sequence[Contender]) -> None:
        self._berth = next((c for c in running if c.name == report.BERTH), None)
        self._used = self._seconds = 0.0

    @contextlib.contextmanager
    def except_for(self, contender: Contender) -> Iterator[None]:
        before = self._now() if contender is not self._berth else None
        contender.resume()
        begun = time.perf_counter()
        try:
            yield
        finally:
            contender.pause()
            after = self._now() if before is not None else None
            if before is not None and after is not None:
                self._used += after - before
                self._seconds += time.perf_counter() - begun

    def share(self) -> float | None:
        """Of one core; None before others ran long enough for the kernel's 10 ms to be small."""
        return self._used / self._seconds if self._seconds >= 2.0 else None

    def _now(self) -> float | None:
        return None if self._berth is None else self._berth.idle_cpu_seconds()


def _cell(
    contender: Contender, prompts: list[list[int]], output_tokens: int, concurrency: int
) -> dict[str, Any]:
    try:
        return asdict(contender.run(prompts, output_tokens, concurrency))
    except Failed as error:
        return {"error": str(error)}


def _prompts(shape: Shape, count: int, tokens: int, seed: str) -> list[list[int]]:
    made = make_prompts(count, tokens, seed=seed, vocab_size=shape.vocabulary, as_text=False)
    return [prompt for prompt in made if isinstance(prompt, list)]


@contextlib.contextmanager
def _stopped_at_the_end(contenders: Sequence[Contender]) -> Iterator[None]:
    try:
        yield
    finally:
        for contender in contenders:
            contender.stop()


def _show(entry: report.Record) -> None:
    for headings, rows in (
        (report.HEADINGS, report.speed_rows(entry)),
        (report.SHARE_HEADINGS, report.share_rows(entry)),
    ):
        table = Table(*headings, title=report.title(entry))
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in report.overhead_lines(entry):
        console.print(line, highlight=False)


if __name__ == "__main__":
    main()
