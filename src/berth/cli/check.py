"""berth check: can this model be placed in the cluster now. The chart's hook before an install."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from berth.cli.fit import DOES_NOT_FIT, request_for
from berth.cli.model_argument import ModelName
from berth.cli.model_source import Model, ModelError, open_model
from berth.cli.workload_options import workload_options
from berth.cluster.api_server import ClusterError, PodsOf, connect, read_nodes
from berth.cluster.quantity import parse_quantity
from berth.fit import FitInputError, Machine, explain
from berth.fit.placement import (
    DEFAULT_TOLERATIONS,
    Placement,
    PlacementRequest,
    Toleration,
    place,
)
from berth.fit.request import FitRequest
from berth.protocol.engines import EngineKind


@click.command()
@click.argument("model", type=ModelName())
@click.option(
    "--selector", "-l", multiple=True, metavar="KEY=VALUE", help="Only nodes with this label."
)
@click.option(
    "--toleration",
    multiple=True,
    metavar="KEY[=VALUE][:EFFECT]",
    help="A taint that the pods tolerate, besides those of GPU pools.",
)
@click.option(
    "--replacing",
    metavar="NAMESPACE:KEY=VALUE,…",
    help="Pods that give their place to the new ones: what they take counts as free.",
)
@click.option("--nodes", type=int, default=1, show_default=True, help="Number of nodes.")
@click.option("--together", is_flag=True, help="One model over all of them, not one on each.")
@click.option(
    "--gpus",
    type=click.IntRange(min=1),
    help="GPUs that the pod requests.  [default: as many as the model needs]",
)
@click.option("--cpu", is_flag=True, help="Place it on the nodes' memory instead of GPUs.")
@click.option("--memory", metavar="SIZE", help="Memory that the pod requests, as 8Gi; with --cpu.")
@click.option("--cpus", metavar="CPUS", help="CPUs that the pod requests, as 500m or 4.")
@click.option("--served", is_flag=True, help="Consider only engines that `berth serve` has.")
@workload_options
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Default: as kubectl's.")
@click.option("--kube-context", help="A context of the kubeconfig.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(
    ctx: click.Context,
    /,
    model: str,
    selector: tuple[str, ...],
    toleration: tuple[str, ...],
    replacing: str | None,
    gpus: int | None,
    memory: str | None,
    cpus: str | None,
    served: bool,
    together: bool,
    kubeconfig: Path | None,
    kube_context: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say whether MODEL can be placed in the cluster now, on which nodes, or what is missing.

    Reads nodes and pods, changes nothing. Exit status: 0 it can, 1 it cannot, 2 the question is
    wrong or the cluster does not answer.
    """
    try:
        found = open_model(model)
        if served and options["engine"] is None:
            options["engine"] = _engine_of_serve(found)
        needed = _at_least_one(options["nodes"])
        spanned = needed if together else 1

        def ask(machine: Machine) -> FitRequest:
            fixed = {"nodes": spanned, "pipeline": None, "memory_fraction": None}
            return request_for(found, machine, options | fixed)

        request = PlacementRequest(
            ask=ask,
            name=found.name,
            nodes=needed,
            selector=dict(_label(text) for text in selector),
            tolerations=(*DEFAULT_TOLERATIONS, *(_toleration(text) for text in toleration)),
            cpu=options["cpu"],
            gpus=gpus,
            memory=None if memory is None else _quantity("memory", memory, "8Gi"),
            milli_cpus=0 if cpus is None else _quantity("cpus", cpus, "500m", 1000),
        )
        gone = None if replacing is None else _pods(replacing)
        nodes = read_nodes(connect(kubeconfig, kube_context), gone)
    except (ModelError, FitInputError, ClusterError) as error:
        raise click.UsageError(str(error), ctx) from error
    answer = place(nodes, request)
    if as_json:
        click.echo(json.dumps(_to_dict(answer, found.name), indent=2))
    else:
        _show(answer, found.name)
    ctx.exit(0 if answer.placed else DOES_NOT_FIT)


def _engine_of_serve(model: Model) -> EngineKind:
    """The engine that `berth serve` takes by itself."""
    if model.engine == "none":
        raise ModelError(f"no engine serves {model.name} yet; {'; '.join(model.notes)}")
    return model.engine


def _quantity(option: str, text: str, example: str, parts: int = 1) -> int:
    try:
        return parse_quantity(text, parts)
    except ValueError as error:
        raise FitInputError(f"{option}: {error}; write {example}, for example") from error


def _at_least_one(nodes: int) -> int:
    if nodes < 1:
        raise FitInputError(f"nodes is {nodes}; it should be at least 1")
    return nodes


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise FitInputError(f"label {text!r} should be KEY=VALUE")
    return key, value


def _pods(text: str) -> PodsOf:
    namespace, colon, labels = text.partition(":")
    if not namespace or not colon or not labels:
        raise FitInputError(f"replacing {text!r} should be NAMESPACE:KEY=VALUE")
    return PodsOf(namespace, dict(_label(part) for part in labels.split(",")))


def _toleration(text: str) -> Toleration:
    """KEY, KEY=VALUE, each with :EFFECT or for all effects."""
    rest, _, effect = text.partition(":")
    key, equals, value = rest.partition("=")
    if not key or effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise FitInputError(f"toleration {text!r} should be KEY[=VALUE][:EFFECT]")
    return Toleration(key, "Equal" if equals else "Exists", value, effect)


def _show(answer: Placement, name: str) -> None:
    if answer.placed:
        click.echo(f"{name} can be placed now on: {', '.join(answer.nodes)}")
    else:
        click.echo(f"{name} cannot be placed now:")
        for reason in answer.reasons:
            where = f"node {reason.node}: " if reason.node else ""
            click.echo(f"  {where}{reason.text} [{reason.code}]")
    if answer.verdict is not None:
        for line in explain(answer.verdict):
            click.echo(line)


def _to_dict(answer: Placement, name: str) -> dict[str, Any]:
    return {
        "model": name,
        "placed": answer.placed,
        "nodes": list(answer.nodes),
        "reasons": [
            {"code": reason.code, "node": reason.node, "text": reason.text}
            for reason in answer.reasons
        ],
        "fit": None if answer.verdict is None else answer.verdict.to_dict(),
    }
