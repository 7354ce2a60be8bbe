"""`python -m benchmarks.soak`: what a server is like after hours of rough use.

Each part is run where its number is above zero. Exit status 1 where a promise was broken.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.soak.faults import (
    GoingReport,
    HangUpReport,
    StrikeReport,
    disconnects,
    sigterms,
    strike,
)
from benchmarks.soak.load import LoadReport, Sample, mixed_load
from benchmarks.soak.server import Broken, serving

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
# The engine that is struck starts again without a pause: the strikes are ours, and not its fault.
_NO_PAUSE = "--restart-pause=0"
_FORMATS = ("float32", "bfloat16")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("model", default="")
@click.option("--minutes", type=click.FloatRange(0), default=0.0, help="Of mixed load.")
@click.option(
    "--streams",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Calls that run at once, under mixed load and of clients that hang up.",
)
@click.option(
    "--kills",
    type=click.IntRange(0),
    default=0,
    help="SIGKILLs of a rank under 8 greedy streams, for each --dtype.",
)
@click.option("--sigstops", type=click.IntRange(0), default=0, help="SIGSTOPs, the same.")
@click.option(
    "--sigterms",
    type=click.IntRange(0),
    default=0,
    help="Servers that are told to go, one in four while it starts.",
)
@click.option(
    "--disconnects", "hang_ups", type=click.IntRange(0), default=0, help="Clients that hang up."
)
@click.option(
    "--full", is_flag=True, help="30 minutes, 100 kills, 10 stops, 20 SIGTERMs, 2000 disconnects."
)
@click.option(
    "--dtype",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    help="Number formats of kills and stops; repeatable.  [default: both]",
)
@click.option(
    "--tokens",
    type=click.IntRange(2),
    default=300,
    show_default=True,
    help="Length of the answers that are struck.",
)
@click.option(
    "--sample-seconds",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Between two looks at memory.",
)
@click.option(
    "--serve-option",
    "options",
    multiple=True,
    metavar="OPTION",
    help="Passed on to berth serve, like --serve-option=--degree=2.",
)
@click.option("--seed", default="soak", show_default=True)
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the servers' logs.  [default: a temporary one, named at the end]",
)
@click.option(
    "--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="File for all figures."
)
def main(
    model: str, minutes: float, streams: int, kills: int, sigstops: int, sigterms: int,
    hang_ups: int, full: bool, formats: tuple[str, ...], tokens: int, sample_seconds: float,
    options: tuple[str, ...], seed: str, log: Path | None, out: Path | None,
) -> None:  # fmt: skip
    """Put a real server of MODEL (the built-in one by default) through long and rough use."""
    if full:
        minutes, kills, sigstops = minutes or 30.0, kills or 100, sigstops or 10
        sigterms, hang_ups = sigterms or 20, hang_ups or 2000
    if not any((minutes, kills, sigstops, sigterms, hang_ups)):
        raise click.UsageError("say what to do: --minutes, --kills, --sigstops, --sigterms, "
                               "--disconnects, or --full")  # fmt: skip
    if log is None:
        log = Path(tempfile.mkdtemp(prefix="berth-soak-")) / "serve.log"
    run = _Run(model, options, seed, log)
    try:
        if minutes:
            run.load(minutes * 60, streams, sample_seconds)
        if hang_ups:
            run.hang_ups(hang_ups, streams)
        for number, times in ((signal.SIGKILL, kills), (signal.SIGSTOP, sigstops)):
            for dtype in formats or _FORMATS:
                if times:
                    run.strikes(number, times, dtype, tokens)
        if sigterms:
            run.sigterms(sigterms)
    except Broken as error:
        run.broken.append(str(error))
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(run.figures)) + b"\n")
    for sentence in run.broken:
        console.print(f"[red]broken:[/] {sentence}")
    console.print(f"the servers' log: {log}")
    sys.exit(1 if run.broken else 0)


class _Run:
    """All parts, printed as they end."""

    def __init__(self, model: str, options: tuple[str, ...], seed: str, log: Path) -> None:
        self._model = model
        self._options = options
        self._seed = seed
        self._log = log
        self.figures: dict[str, Any] = {}
        self.broken: list[str] = []

    def load(self, seconds: float, streams: int, sample_seconds: float) -> None:
        with serving(self._model, self._options, self._log) as server:
            report = mixed_load(
                server,
                seconds=seconds,
                streams=streams,
                seed=self._seed,
                sample_seconds=min(sample_seconds, seconds / 3),
                on_sample=_show_sample,
            )
            code = server.end()
        growth = report.growth()
        console.print(
            f"mixed load, {report.seconds / 60:.1f} minutes at {streams}: {report.requests} "
            f"requests ({report.streams} streams, {report.gave_up} given up by their clients, "
            f"{report.lengths} different lengths), {sum(report.errors.values())} errors, "
            f"exit code {code}"
        )
        console.print(_memory_table(report))
        if growth is not None:
            parts = (("server", report.growth("server")), ("engine", report.growth("engine")))
            said = ", ".join(f"{name} {part:+.1%}" for name, part in parts if part is not None)
            console.print(f"memory since the first look: {growth:+.1%} ({said})")
        self._end("load", report, report.kept and code == 0, growth=growth, exit_code=code)
        _show_errors(report.errors)

    def hang_ups(self, times: int, at_once: int) -> None:
        with serving(self._model, self._options, self._log) as server:
            report = disconnects(
                server,
                times,
                at_once=at_once,
                seed=self._seed,
                progress=lambda r: _progress("disconnects", r.disconnects, times),
            )
        stages = ", ".join(f"{count} {stage}" for stage, count in sorted(report.by_stage.items()))
        console.print(
            f"disconnects: {report.disconnects} ({stages}); {report.cancelled} requests cancelled; "
            f"left over: {_gauges(report.left)}; open files of the server {report.files_before} "
            f"before, {report.files_after} after"
        )
        self._end("disconnects", report, report.kept)
        _show_errors(report.errors)

    def strikes(self, number: signal.Signals, times: int, dtype: str, tokens: int) -> None:
        options = (*self._options, f"--dtype={dtype}", _NO_PAUSE)
        with serving(self._model, options, self._log) as server:
            report = strike(
                server,
                number,
                times,
                seed=self._seed,
                tokens=tokens,
                progress=lambda r: _progress(number.name, r.strikes, times),
            )
        gone = report.seconds_until_gone
        console.print(
            f"{number.name}, {dtype}: {report.strikes} under 8 greedy streams; {report.equal} of "
            f"{report.streams} streams byte for byte as undisturbed (two undisturbed runs "
            f"{'were equal' if report.steady else 'differed'}), {sum(report.errors.values())} "
            f"errors, {report.restarts} restarts counted; longest pause in a stream "
            f"{report.longest_gap:.1f} s; the ranks were gone after at most "
            f"{max(gone, default=0):.2f} s"
        )
        self._end(f"{number.name} {dtype}", report, report.kept)
        _show_errors(report.errors)

    def sigterms(self, times: int) -> None:
        report = sigterms(
            self._model,
            self._options,
            self._log,
            times,
            seed=self._seed,
            progress=lambda r: _progress("SIGTERM", r.sigterms, times),
        )
        codes = ", ".join(f"{code} x {count}" for code, count in sorted(report.codes.items()))
        console.print(
            f"SIGTERM: {report.sigterms} ({report.while_starting} while the server started); exit "
            f"codes {codes}; of {report.calls} calls {report.completed} completed, {report.told} "
            f"told why not, {report.refused} refused, {sum(report.cut.values())} cut without a "
            f"word; the slowest end took {report.longest_end:.1f} s"
        )
        self._end("SIGTERM", report, report.kept)
        _show_errors(report.cut)

    def _end(
        self,
        name: str,
        report: LoadReport | HangUpReport | StrikeReport | GoingReport,
        kept: bool,
        **more: Any,
    ) -> None:
        self.figures[name] = {"report": report, "kept": kept, **more}
        if not kept:
            self.broken.append(name)


def _show_sample(sample: Sample) -> None:
    roles = ", ".join(f"{p.role} {p.rss / 1e6:.0f} MB" for p in sample.processes)
    console.print(f"  minute {sample.minute:.1f}: {roles}", style="dim")


def _memory_table(report: LoadReport) -> Table:
    """Resident memory of every process, in MB; and what else can leak."""
    pids = {p.pid: p.role for sample in report.samples for p in sample.processes}
    table = Table("minute", *(f"{role} {pid}" for pid, role in pids.items()), "files", "threads")
    for sample in report.samples:
        rss = {process.pid: f"{process.rss / 1e6:.1f}" for process in sample.processes}
        table.add_row(
            f"{sample.minute:.1f}",
            *(rss.get(pid, "") for pid in pids),
            str(sum(process.files for process in sample.processes)),
            str(sum(process.threads for process in sample.processes)),
        )
    return table


def _show_errors(errors: dict[str, int]) -> None:
    for sentence, count in sorted(errors.items(), key=lambda item: -item[1]):
        console.print(f"  {count} x {sentence}", markup=False)


def _gauges(left: dict[str, float]) -> str:
    return ", ".join(f"{name.removeprefix('vllm:')} {value:g}" for name, value in left.items())


def _progress(what: str, done: int, times: int) -> None:
    console.print(f"  {what}: {done} of {times}", style="dim")


if __name__ == "__main__":
    main()
