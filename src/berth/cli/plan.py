"""berth plan: what a Workspace would become, without a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from berth.cli.fit import DOES_NOT_FIT
from berth.cli.machine_options import NAMES, machine_options, named_machine
from berth.cli.plan_answer import Where, answer
from berth.cli.plan_files import FileError, read_files, read_nodes_file
from berth.cli.plan_view import show
from berth.fit import Machine, UnknownMachine
from berth.presets.catalogue import PresetError, load_presets

BAD_FILE = 2


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--nodes",
    "nodes_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Nodes as `kubectl get nodes -o json` printed them.",
)
@machine_options
@click.option(
    "--node-class",
    metavar="GROUP/KIND/NAME",
    help="Show also the NodeClaims of a controller that provisions nodes of this class.",
)
@click.option("-o", "output", type=click.Choice(["yaml"]), help="Print the objects, whole.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    nodes_file: Path | None,
    node_class: str | None,
    output: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say whether the Workspaces in FILE fit, and which objects would be created for them.

    Asks no cluster: nodes are taken to be there as resource.instanceType says, empty, or are those
    of --nodes, --sku, --gpu or --ram. A file may have several documents; ConfigMaps among them are
    read where inference.config names them. "-" is standard input. Exit status: 0 all of them fit,
    1 one does not, 2 a file is wrong.

    \b
    berth plan workspace.yaml
    berth plan workspace.yaml --sku Standard_NC24ads_A100_v4 -o yaml
    kubectl get nodes -o json > nodes.json && berth plan workspace.yaml --nodes nodes.json
    """
    try:
        where = Where(
            nodes=None if nodes_file is None else read_nodes_file(nodes_file),
            machine=_machine(options, nodes_file),
            node_class=_node_class(node_class),
            presets=load_presets(),
        )
        manifests = read_files(files)
        answers = [answer(manifest, manifests, where) for manifest in manifests.workspaces]
    except (FileError, UnknownMachine, PresetError) as error:
        click.echo(str(error), err=True)
        ctx.exit(BAD_FILE)
    if as_json:
        click.echo(json.dumps([found.to_dict() for found in answers], indent=2))
    elif output == "yaml":
        made = [dict(one) for found in answers for one in found.objects]
        click.echo(yaml.safe_dump_all(made, sort_keys=False), nl=False)
    else:
        for found in answers:
            show(found.to_dict())
    wrong = [f"{found.manifest.where}: {found.wrong}" for found in answers if found.wrong]
    for line in wrong:
        click.echo(line, err=True)
    if wrong:
        ctx.exit(BAD_FILE)
    ctx.exit(0 if all(found.fits for found in answers) else DOES_NOT_FIT)


def _machine(options: Mapping[str, Any], nodes_file: Path | None) -> Machine | None:
    """The one that is named. Raises click.UsageError, UnknownMachine."""
    machine = named_machine(options)
    if machine is not None and nodes_file is not None:
        raise click.UsageError(f"one of --nodes, {NAMES} is enough")
    return machine


def _node_class(text: str | None) -> Mapping[str, str] | None:
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        raise click.UsageError("--node-class should be GROUP/KIND/NAME")
    return dict(zip(("group", "kind", "name"), parts, strict=True))
