"""What a Workspace would become on given nodes: the planner's answer, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from berth.cli.plan_files import FileError, Manifest, Manifests
from berth.cli.plan_nodes import nodes_of
from berth.fit import Machine, UnknownMachine, explain, sku
from berth.fit.placement import PlacementRequest, place
from berth.fit.request import FitRequest
from berth.presets.catalogue import Preset
from berth.workspace import names
from berth.workspace.actions import Apply, WriteStatus
from berth.workspace.nodes import read_nodes
from berth.workspace.observed import Observed, Settings
from berth.workspace.parse import parse_workspace
from berth.workspace.placing import of_type
from berth.workspace.plan import plan
from berth.workspace.shape import Shape, decode
from berth.workspace.sizing import question
from berth.workspace.spec import Refusal, Spec, read_spec
from berth.workspace.types import Workspace
from berth.workspace.validate import without_nulls
from berth.workspace.validate_notes import notes

_UID = "00000000-0000-0000-0000-000000000000"  # the API server gives the real one
_CLAIM = "NodeClaim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What would become of one Workspace."""

    manifest: Manifest
    nodes: str  # what it was planned on, in words
    status: Mapping[str, Any]
    objects: Sequence[Mapping[str, Any]]
    terms: Sequence[str]  # fit's lines; none if it is not deployed, for the status has them
    notes: Sequence[str]
    wrong: str = ""  # what the file has to say otherwise, where it can be planned nowhere

    @property
    def fits(self) -> bool:
        """Whether it would be deployed."""
        return any(made["kind"] == "StatefulSet" for made in self.objects)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": self.manifest.where,
            "namespace": self.manifest.namespace,
            "workspace": self.manifest.name,
            "nodes": self.nodes,
            "fits": self.fits,
            "status": self.status,
            "terms": list(self.terms),
            "objects": list(self.objects),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The nodes to plan on, as far as the command line says."""

    presets: Mapping[str, Preset]
    nodes: Sequence[Mapping[str, Any]] | None = None
    machine: Machine | None = None
    node_class: Mapping[str, str] | None = None


def answer(manifest: Manifest, manifests: Manifests, where: Where) -> Answer:
    """Ask the planner. Raises FileError if there is no node to plan on."""
    workspace = parse_workspace(without_nulls(manifest.object))
    said = list(notes(manifest.object, workspace))
    machine = where.machine
    if machine is None and where.nodes is None:
        machine = _of_type(manifest, workspace)
    nodes = nodes_of(workspace, machine) if machine is not None else tuple(where.nodes or ())
    observed = Observed(
        workspace=_stored(manifest, machine if where.machine is not None else None, said),
        settings=Settings(),
        presets=where.presets,
        nodes=nodes,
        pods=(),
        children=(),
        config_map=_config_map(manifest, workspace, manifests, said),
    )
    claims = [] if where.node_class is None else _claims(observed, where.node_class)
    status, objects = _planned(observed)
    spec = read_spec(observed)
    return Answer(
        manifest=manifest,
        nodes=_in_words(workspace, machine, nodes),
        status=status,
        objects=[*claims, *objects] if objects else [],
        terms=_terms(observed, spec, objects),
        notes=said,
        wrong=spec.message if isinstance(spec, Refusal) else "",
    )


def _of_type(manifest: Manifest, workspace: Workspace) -> Machine:
    wanted = workspace.resource.instance_type
    if not wanted:
        raise FileError(
            f"{manifest.where}: resource.instanceType is empty, which means own nodes: say which "
            "with --nodes FILE, --sku TYPE, --gpu PRODUCT or --ram GIB"
        )
    try:
        return sku(wanted)
    except UnknownMachine as error:
        raise FileError(f"{manifest.where}: resource.instanceType: {error}") from error


def _stored(manifest: Manifest, other: Machine | None, said: list[str]) -> dict[str, Any]:
    """The Workspace as the API server would keep it; `other`: on this machine instead."""
    stored: dict[str, Any] = without_nulls({**manifest.object, "status": None})
    stored["metadata"] = {
        **stored["metadata"],
        "name": manifest.name,
        "namespace": manifest.namespace,
        "uid": _UID,
        "resourceVersion": "1",
        "generation": 1,
        "finalizers": [],
    }
    wanted = stored["resource"].get("instanceType")
    if other is not None and wanted and wanted.lower() != other.name.lower():
        said.append(f"resource.instanceType is {wanted}; planned as if it were {other.name}")
        instead = other.name if other.cloud is not None else ""
        stored["resource"] = {**stored["resource"], "instanceType": instead}
    return stored


def _config_map(
    manifest: Manifest, workspace: Workspace, manifests: Manifests, said: list[str]
) -> Mapping[str, Any] | None:
    name = workspace.inference.config if workspace.inference is not None else ""
    if not name:
        return None
    found = manifests.config_maps.get((manifest.namespace, name))
    if found is not None:
        return found
    said.append(f"inference.config: ConfigMap {name} is in no file; planned with the defaults")
    return {"data": {"inference_config.yaml": ""}}


def _planned(observed: Observed) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The status, and the objects."""
    actions = plan(observed, datetime.now(UTC))
    status = next((a.status for a in actions if isinstance(a, WriteStatus)), {})
    return status, [action.object for action in actions if isinstance(action, Apply)]


def _claims(observed: Observed, node_class: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """The NodeClaims of a cluster that has no node yet."""
    metadata = {**observed.workspace["metadata"], "finalizers": [names.FINALIZER]}
    empty = Observed(
        workspace={**observed.workspace, "metadata": metadata},
        settings=Settings(provisioning=True, node_class=node_class),
        presets=observed.presets,
        nodes=(),
        pods=(),
        children=(),
        claims=(),
        config_map=observed.config_map,
    )
    return [made for made in _planned(empty)[1] if made["kind"] == _CLAIM]


def _terms(
    observed: Observed, spec: Spec | Refusal, objects: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Fit's lines for the shape that was chosen; none for a template, which is not measured."""
    shape = _shape(objects)
    if shape is None or isinstance(spec, Refusal) or spec.preset is None:
        return []
    group = shape.kind == "group"

    def ask(machine: Machine) -> FitRequest:
        return (
            question(spec, machine, spec.count, (shape.ranks, 1))
            if group
            else question(spec, machine)
        )

    nodes = read_nodes(observed.nodes, (), namespace="", workspace="", own=set())
    placed = place(
        [node for node in nodes if of_type(node, spec.instance_type)],
        PlacementRequest(
            ask=ask, name=spec.preset.name, selector=spec.selector, cpu=shape.device == "cpu"
        ),
    )
    return [] if placed.verdict is None else explain(placed.verdict)


def _shape(objects: Sequence[Mapping[str, Any]]) -> Shape | None:
    for made in objects:
        if made["kind"] == "StatefulSet":
            placed = decode(made["metadata"]["annotations"][names.PLACED])
            return None if placed is None else placed.shape
    return None


def _in_words(workspace: Workspace, machine: Machine | None, nodes: Sequence[Any]) -> str:
    if machine is None:
        return _several(len(nodes), "of the file")
    kind = f"of {machine.name}" if machine.cloud is not None else f"with {machine.name}"
    return f"{_several(workspace.resource.count, kind)}, taken to be there and empty"


def _several(count: int, kind: str) -> str:
    return f"{count} node{'' if count == 1 else 's'} {kind}"
