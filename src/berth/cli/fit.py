"""berth fit: does this model fit this machine, before anything is paid for."""

from __future__ import annotations

import json
import sys
from typing import Any, cast, get_args

import click
from rich.console import Console

from berth.checkpoint.choose import engine_for
from berth.checkpoint.errors import NoEngine
from berth.cli.fit_view import bars, print_skus
from berth.cli.machine_options import NAMES, machine_options, named_machine
from berth.cli.model_argument import ModelName
from berth.cli.model_source import Model, ModelError, open_model
from berth.cli.workload_options import workload_options
from berth.fit import (
    FitInputError,
    FitRequest,
    Machine,
    UnknownMachine,
    Verdict,
    all_skus,
    explain,
)
from berth.fit import fit as ask
from berth.fit.engines import EngineName, stand_in
from berth.fit.machines import Cloud
from berth.protocol.engines import EngineKind

DOES_NOT_FIT = 1


@click.command()
@click.argument("model", type=ModelName())
@machine_options
@click.option("--all-skus", is_flag=True, help="A table of every instance type.")
@click.option(
    "--cloud",
    type=click.Choice(get_args(Cloud), case_sensitive=False),
    help="Only this cloud's, in a table.",
)
@click.option("--nodes", type=int, default=1, show_default=True, help="Nodes of this machine.")
@workload_options
@click.option("--pipeline", type=int, metavar="STAGES", help="Pipeline stages.")
@click.option(
    "--memory-fraction", type=float, help="Share of the device's memory that the engine may take."
)
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def fit(
    ctx: click.Context, /, model: str, revision: str | None, as_json: bool, **options: Any
) -> None:
    """Say whether MODEL fits a machine, with every byte accounted for.

    MODEL is a preset, a folder with config.json or params.json, or an id on the hub. Exit status:
    0 it fits, 1 it does not, 2 the question is wrong.

    \b
    berth fit llama-2-13b-chat --sku Standard_NC12s_v3
    berth fit llama-3.1-8b-instruct --gpu "RTX 4090" --count 2 --context 32768
    berth fit qwen3-8b --gpu-memory 16
    berth fit pocket --ram 512M
    berth fit phi-4 --all-skus --cloud aws
    """
    try:
        found = open_model(model, revision)
        if options["all_skus"]:
            ctx.exit(_table(found, options, as_json))
        machine = named_machine(options)
        if machine is None:
            raise click.UsageError(f"say where, with one of {NAMES}, or with --all-skus", ctx)
        request = request_for(found, machine, options)
        verdict = ask(request)
    except (ModelError, FitInputError, UnknownMachine) as error:
        raise click.UsageError(str(error), ctx) from error
    unserved = found.engine == "none" and options["engine"] is None
    if as_json:
        click.echo(json.dumps(verdict.to_dict() | {"model_notes": list(found.notes)}, indent=2))
    else:
        if unserved:
            engine = request.engine
            click.echo(f"Berth has no engine for {found.name}. What {engine} would take:")
        _show(verdict, found)
    ctx.exit(0 if verdict.accepted and not unserved else DOES_NOT_FIT)


def request_for(model: Model, machine: Machine, options: dict[str, Any]) -> FitRequest:
    """The question that the options ask. Raises FitInputError."""
    engine = options["engine"] or _engine_of(model, machine)
    if model.description is not None and engine in get_args(EngineKind):
        try:
            engine_for(model.description, cast(EngineKind, engine))
        except NoEngine as error:
            raise FitInputError(str(error)) from error
    return FitRequest(
        model=model.numbers,
        name=model.name,
        stored_bytes=model.stored_bytes,
        machine=machine,
        engine=cast(EngineName, engine),
        nodes=options["nodes"],
        context=options["context"],
        concurrency=options["concurrency"],
        dtype=options["dtype"],
        quantize=options["quantize"],
        kv_dtype=options["kv_dtype"],
        tensor=options["tensor"],
        pipeline=options["pipeline"],
        memory_fraction=options["memory_fraction"],
    )


def _engine_of(model: Model, machine: Machine) -> str:
    """The engine that serves it; if none does yet, one whose arithmetic is known."""
    return model.engine if model.engine != "none" else stand_in(machine.device.kind)


def _show(verdict: Verdict, model: Model) -> None:
    for line in explain(verdict):
        click.echo(line)
    for note in model.notes:
        click.echo(f"note: {note}")
    if verdict.layout is not None:
        console = _console()
        console.print()
        for bar in bars(verdict):
            console.print(bar)


def _console() -> Console:
    """Wide enough for a table if the output is no terminal: rich takes 80 columns for a file."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)


def _table(model: Model, options: dict[str, Any], as_json: bool) -> int:
    """Every instance type, the smallest first. Returns the exit status."""
    verdicts: list[Verdict] = []
    for machine in all_skus(options["cloud"]):
        try:
            request = request_for(model, machine, options)
        except FitInputError:
            # An engine that this kind of machine does not run: the machine's own, where none was
            # asked for by name.
            if options["engine"] is not None:
                continue
            engine = _engine_of(model, machine)
            request = request_for(model, machine, options | {"engine": engine})
        verdicts.append(ask(request))
    if not verdicts:
        raise FitInputError("no instance type runs this model as asked")
    if as_json:
        click.echo(json.dumps([verdict.to_dict() for verdict in verdicts], indent=2))
    else:
        print_skus(verdicts)
    return 0 if any(verdict.accepted for verdict in verdicts) else DOES_NOT_FIT
