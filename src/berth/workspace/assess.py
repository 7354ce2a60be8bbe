"""One look at a Workspace: what it asks for, what is there, and what therefore has to be done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from berth.cluster.fields import (
    Json,
    is_going,
    mapping,
    name_of,
    owned_by,
    text,
    uid_of,
    words,
)
from berth.workspace import names
from berth.workspace.claims import ClaimState, claim_state, own_claims
from berth.workspace.config_record import ConfigRecord, live_record, record
from berth.workspace.judgement import Judgement, no
from berth.workspace.needs import Need
from berth.workspace.nodes import read_nodes
from berth.workspace.objects.common import Plan
from berth.workspace.objects.wanted import wanted_objects
from berth.workspace.observed import Observed
from berth.workspace.placing import Room, Unplaced, find_room, room_on_new_nodes, usable_nodes
from berth.workspace.reasons import Reason
from berth.workspace.shape import Placed, Shape, decode, encode
from berth.workspace.spec import Identity, Refusal, Spec, read_spec
from berth.workspace.template_room import room_for_template, template_shape, usable_for_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """The objects at the Workspace's names, by kind and name: its own, and others'."""

    own: Mapping[tuple[str, str], Json]
    foreign: Mapping[tuple[str, str], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything that the conditions and the actions are computed from."""

    who: Identity
    observed: Observed
    now: datetime
    children: Children
    spec: Spec | Refusal
    # The shape that runs, or that could be made now; else why there is none.
    placement: Shape | Unplaced | None = None
    nodes: tuple[str, ...] = ()  # that were chosen; none if a shape runs already
    claims: ClaimState | None = None  # None: the chart provisions nothing
    wanted: tuple[dict[str, Any], ...] = ()  # none if nothing may be made
    plan: Plan | None = None
    pods: tuple[Json, ...] = field(default=())  # of the StatefulSet, by name
    # Why what runs is left behind what is asked for; None: it is not.
    behind: Judgement | None = None
    looks_for: tuple[Need, ...] = ()  # to be known before pods that answer are ended
    surge: dict[str, Any] | None = None  # a second StatefulSet, while the first is replaced
    surge_pods: tuple[Json, ...] = ()
    waits_for_surge: bool = False  # the first is left as it is until the second answers
    takes_turn: bool = False  # pods that answer are restarted because of the chart

    @property
    def stateful_set(self) -> Json | None:
        """The one that is there and ours."""
        return self.children.own.get(("StatefulSet", names.stateful_set(self.who.name)))

    @property
    def surge_live(self) -> Json | None:
        """The second one that is there and ours."""
        return self.children.own.get(("StatefulSet", names.surge(self.who.name)))

    @property
    def wanted_stateful_set(self) -> dict[str, Any]:
        """Of `wanted`, which must not be empty."""
        return next(one for one in self.wanted if one["kind"] == "StatefulSet")


def assess(observed: Observed, who: Identity, now: datetime) -> Assessment:
    """See Assessment. Fit comes first: without it, nothing is wanted.

    A ConfigMap that cannot be used, or whose options have no room, takes nothing away from a model
    that runs: the options that it runs with go on to hold.
    """
    children = _children(observed, who)
    live = children.own.get(("StatefulSet", names.stateful_set(who.name)))
    found = _assess(observed, who, now, children, live, read_spec(observed))
    known = live_record(live)
    if known is None or found.wanted or found.claims is not None:
        return found
    if text(observed.workspace, "inference", "config") != known.name:
        return found
    why = _fault_of_config(found, known)
    if why is None:
        return found
    earlier = _assess(
        observed, who, now, children, live, read_spec(observed, earlier=known.options)
    )
    return replace(earlier, behind=why) if earlier.wanted else found


def _fault_of_config(found: Assessment, known: ConfigRecord) -> Judgement | None:
    """Why the ConfigMap as it is now cannot be deployed; None if it is not its fault."""
    goes_on = f"The pods go on with {known}."
    spec = found.spec
    if isinstance(spec, Refusal):
        if spec.reason not in (Reason.ConfigMissing, Reason.ConfigInvalid):
            return None
        return no(spec.reason, f"{spec.message} {goes_on}")
    if spec.options == known.options or not isinstance(found.placement, Unplaced):
        return None
    said = found.placement.message
    return no(Reason.ConfigDoesNotFit, f"ConfigMap {spec.config}: {said}\n{goes_on}")


def _assess(
    observed: Observed,
    who: Identity,
    now: datetime,
    children: Children,
    live: Json | None,
    spec: Spec | Refusal,
) -> Assessment:
    pods = _pods(observed, who, live)
    common: dict[str, Any] = {
        "who": who,
        "observed": observed,
        "now": now,
        "children": children,
        "spec": spec,
        "pods": pods,
        "surge_pods": _pods(
            observed, who, children.own.get(("StatefulSet", names.surge(who.name)))
        ),
    }
    if isinstance(spec, Refusal):
        return Assessment(**common)
    shape = _running_shape(spec, live)
    nodes: tuple[str, ...] = ()
    claims: ClaimState | None = None
    placement: Shape | Unplaced
    if shape is not None:
        placement = shape
        if _provisions(observed, spec):
            claims = _claims_for_running(observed, who, spec, shape, pods, now)
    else:
        found = _room(observed, who, spec)
        if isinstance(found, Room):
            placement, nodes = found.shape, found.nodes
            if _provisions(observed, spec):
                claims = claim_state(observed, who, spec, found.shape, 0, now)
        else:
            placement = found
            if _provisions(observed, spec):
                return _provisioned(common, observed, who, spec, found, now)
    if isinstance(placement, Unplaced):
        return Assessment(**common, placement=placement)
    plan = _plan(observed, who, spec, placement, live)
    return Assessment(
        **common,
        placement=placement,
        nodes=nodes,
        claims=claims,
        plan=plan,
        wanted=wanted_objects(plan),
    )


def workspace_digest(workspace: Json) -> str:
    """Of what its user asks of the pods: not how many, and nothing that the chart decides."""
    resource = {k: v for k, v in mapping(workspace, "resource").items() if k != "count"}
    asked = [resource, dict(mapping(workspace, "inference"))]
    return names.digest(json.dumps(asked, sort_keys=True, default=str), 16)


def place_key(spec: Spec, kind: str) -> str:
    """What a shape was chosen by. Replicas may become more or fewer without another choice."""
    options = spec.options
    chosen_by = [
        spec.preset.name if spec.preset is not None else "",
        sorted(spec.selector.items()),
        spec.instance_type.lower(),
        spec.engine,
        options.context,
        options.dtype,
        options.memory_fraction,
        options.degree,
        options.quantize,
        spec.count if kind == "group" else None,
    ]
    return names.digest(json.dumps(chosen_by), 16)


def _running_shape(spec: Spec, live: Json | None) -> Shape | None:
    """The shape of the StatefulSet that is there, if this is still what is asked for."""
    if live is None:
        return None
    placed = decode(words(live, "metadata", "annotations").get(names.PLACED, ""))
    if placed is None or placed.key != place_key(spec, placed.shape.kind):
        return None
    if spec.template is not None:
        types = placed.shape.instance_types
        return msgspec.structs.replace(template_shape(spec), instance_types=types)
    return placed.shape if placed.shape.engine else None


def _room(observed: Observed, who: Identity, spec: Spec) -> Room | Unplaced:
    own = {uid_of(pod) for pod in observed.pods if _is_own_pod(pod, who)}
    nodes = read_nodes(
        observed.nodes, observed.pods, namespace=who.namespace, workspace=who.name, own=own
    )
    if spec.template is not None:
        return room_for_template(spec, nodes)
    return find_room(spec, nodes)


def _provisions(observed: Observed, spec: Spec) -> bool:
    return observed.settings.provisioning and bool(spec.instance_type)


def _provisioned(
    common: dict[str, Any],
    observed: Observed,
    who: Identity,
    spec: Spec,
    found: Unplaced,
    now: datetime,
) -> Assessment:
    """The nodes that are there do not do: those that could be made."""
    shape = template_shape(spec) if spec.template is not None else room_on_new_nodes(spec)
    if isinstance(shape, Unplaced):
        return Assessment(**common, placement=shape)
    missing = max(spec.count - _usable(observed, who, spec, shape), 0)
    claims = claim_state(observed, who, spec, shape, missing, now)
    waiting = Unplaced(reason=found.reason, message=found.message, fits="True", fit=shape.fit)
    return Assessment(**common, placement=waiting, claims=claims)


def _claims_for_running(
    observed: Observed,
    who: Identity,
    spec: Spec,
    shape: Shape,
    pods: tuple[Json, ...],
    now: datetime,
) -> ClaimState:
    """A node may have gone away under a running model, or resource.count have grown."""
    homeless = spec.count - sum(1 for pod in pods if text(pod, "spec", "nodeName"))
    if homeless <= 0:
        return claim_state(observed, who, spec, shape, 0, now, housed=homeless == 0)
    missing = max(spec.count - _usable(observed, who, spec, shape), 0)
    return claim_state(observed, who, spec, shape, missing, now)


def _usable(observed: Observed, who: Identity, spec: Spec, shape: Shape) -> int:
    """How many nodes, besides those of our own claims, can each take a pod of this shape."""
    own = {uid_of(pod) for pod in observed.pods if _is_own_pod(pod, who)}
    claimed = {text(claim, "status", "nodeName") for claim in own_claims(observed, who)}
    others = [node for node in observed.nodes if name_of(node) not in claimed]
    nodes = read_nodes(others, observed.pods, namespace=who.namespace, workspace=who.name, own=own)
    if spec.template is not None:
        return usable_for_template(spec, nodes)
    return usable_nodes(spec, shape, nodes)


def room_beside(found: Assessment) -> bool:
    """Whether one more pod has room, beside all that are there."""
    spec, shape, observed, who = found.spec, found.placement, found.observed, found.who
    if not isinstance(spec, Spec) or not isinstance(shape, Shape):
        return False
    nodes = read_nodes(
        observed.nodes, observed.pods, namespace=who.namespace, workspace=who.name, own=set()
    )
    return usable_nodes(spec, shape, nodes) > 0


def _plan(observed: Observed, who: Identity, spec: Spec, shape: Shape, live: Json | None) -> Plan:
    placed = Placed(key=place_key(spec, shape.kind), shape=shape)
    return Plan(
        who=who,
        spec=spec,
        shape=shape,
        settings=observed.settings,
        placed=encode(placed),
        config=record(spec, who, observed.config_map, live),
        asked=workspace_digest(observed.workspace),
    )


def _children(observed: Observed, who: Identity) -> Children:
    own: dict[tuple[str, str], Json] = {}
    foreign: dict[tuple[str, str], Json] = {}
    for child in observed.children:
        key = text(child, "kind"), name_of(child)
        if not all(key) or text(child, "metadata", "namespace") != who.namespace:
            continue
        (own if owned_by(child, who.uid) else foreign)[key] = child
    return Children(own=own, foreign=foreign)


def _is_own_pod(pod: Json, who: Identity) -> bool:
    """A pod of our StatefulSet, or of one of ours that is being replaced."""
    owners = (names.stateful_set(who.name), names.surge(who.name))
    references = mapping(pod, "metadata").get("ownerReferences")
    return (
        text(pod, "metadata", "namespace") == who.namespace
        and isinstance(references, list)
        and any(
            text(one, "kind") == "StatefulSet" and text(one, "name") in owners for one in references
        )
    )


def _pods(observed: Observed, who: Identity, live: Json | None) -> tuple[Json, ...]:
    """Of the StatefulSet that is there, by their names."""
    if live is None or is_going(live):
        return ()
    found = [
        pod
        for pod in observed.pods
        if text(pod, "metadata", "namespace") == who.namespace and owned_by(pod, uid_of(live))
    ]
    return tuple(sorted(found, key=name_of))
