"""Karpenter's NodeClaims: which there are, which should be, and what the cloud says of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from berth.cluster.fields import (
    Json,
    condition,
    is_going,
    mapping,
    moment,
    name_of,
    text,
    uid_of,
    whole,
    words,
    written,
)
from berth.fit.units import GIB
from berth.workspace import names
from berth.workspace.actions import Action, Apply, Delete
from berth.workspace.objects.nodeclaim import API_VERSION, KIND, node_claim
from berth.workspace.observed import Observed
from berth.workspace.reasons import Reason
from berth.workspace.shape import Shape
from berth.workspace.spec import Identity, Spec

_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 900.0  # seconds between two tries to get a node
_BLIND_PAUSE = 60.0  # where a claim has vanished and no event says when
_NEXT_TRY = re.compile(r"Next try at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\.")
_STEPS = ("Launched", "Registered", "Initialized")
_LONGEST = 600  # characters of one claim's words


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimState:
    """What NodeClaimReady says, and what is to be done."""

    ready: bool
    reason: Reason
    message: str
    actions: tuple[Action, ...] = ()
    needs_finalizer: bool = False  # before any claim may be made
    look_again: float | None = None  # seconds


def own_claims(observed: Observed, who: Identity) -> list[Json]:
    """Those with this Workspace's labels, in the order of their names."""
    return sorted((one for one in observed.claims or () if _is_ours(one, who)), key=name_of)


def delete_claim(claim: Json) -> Delete:
    """Delete this one."""
    return Delete(
        api_version=text(claim, "apiVersion") or API_VERSION,
        kind=KIND,
        namespace=None,
        name=name_of(claim),
        uid=uid_of(claim),
    )


def claim_state(
    observed: Observed,
    who: Identity,
    spec: Spec,
    shape: Shape,
    missing: int,
    now: datetime,
    *,
    housed: bool = False,
) -> ClaimState:
    """What to do so that `missing` nodes more than the cluster had become there.

    Claims that are there are kept while they may be of use, also if other nodes have become
    free meanwhile. Once all pods are `housed`, a claim whose node has none of them is given back.
    """
    if observed.claims is None:
        if missing <= 0:
            return _progress((), ())
        return ClaimState(
            ready=False,
            reason=Reason.KarpenterMissing,
            message="The cluster has no karpenter.sh/v1 NodeClaim; install Karpenter, or add nodes "
            "by hand.",
            look_again=60.0,
        )
    claims = own_claims(observed, who)
    alive = [claim for claim in claims if not is_going(claim)]
    surplus = _surplus(observed, who, alive, spec.count, housed=housed)
    alive = [claim for claim in alive if claim not in surplus]
    short = missing - len(alive)
    if short <= 0 or surplus:
        return _progress(alive, [delete_claim(claim) for claim in surplus])
    if observed.settings.node_class is None:
        return ClaimState(
            ready=False,
            reason=Reason.NodeClassMissing,
            message="The chart's value for the node class of new nodes is not set.",
        )
    pause = _pause(observed, who, claims, now)
    if pause is not None:
        return pause
    taken = {name_of(claim) for claim in claims}
    free = (names.claim(who.namespace, who.name, i) for i in range(len(taken) + short))
    new = [name for name in free if name not in taken][:short]
    actions = tuple(Apply(object=_claim(who, spec, shape, observed, name)) for name in new)
    return ClaimState(
        ready=False,
        reason=Reason.ClaimsPending,
        message=f"{_count(missing)} of type {spec.instance_type} asked for.",
        actions=actions,
        needs_finalizer=not has_finalizer(observed),
        look_again=30.0,
    )


def has_finalizer(observed: Observed) -> bool:
    """Whether ours holds the Workspace."""
    found = mapping(observed.workspace, "metadata").get("finalizers")
    return isinstance(found, list | tuple) and names.FINALIZER in found


def _surplus(
    observed: Observed, who: Identity, alive: Sequence[Json], count: int, *, housed: bool
) -> list[Json]:
    """Claims that are of no use any more: first those without a pod of ours."""
    used = _used_nodes(observed, who)
    by_use = sorted(alive, key=lambda claim: text(claim, "status", "nodeName") in used)
    too_many = by_use[: max(len(alive) - count, 0)]
    if not housed:
        return too_many
    idle = [claim for claim in alive if text(claim, "status", "nodeName") not in used]
    if any(_is_ours(node, who) for node in observed.nodes if name_of(node) in used):
        # A claim that does not say yet which node it became may be the one below our pods.
        idle = [claim for claim in idle if text(claim, "status", "nodeName")]
    return [claim for claim in alive if claim in idle or claim in too_many]


def _used_nodes(observed: Observed, who: Identity) -> set[str]:
    """Where pods of this Workspace are."""
    label = names.label_value(who.name)
    return {
        text(pod, "spec", "nodeName")
        for pod in observed.pods
        if text(pod, "metadata", "namespace") == who.namespace
        and words(pod, "metadata", "labels").get(names.WORKSPACE_LABEL) == label
    }


def _is_ours(obj: Json, who: Identity) -> bool:
    """Whether a claim, or a node that was one, has this Workspace's labels."""
    wanted = {
        names.WORKSPACE_LABEL: names.label_value(who.name),
        names.NAMESPACE_LABEL: names.label_value(who.namespace),
    }
    return wanted.items() <= words(obj, "metadata", "labels").items()


def _progress(alive: Sequence[Json], actions: Sequence[Action]) -> ClaimState:
    """How far the claims are."""
    failed = [(claim, said) for claim in alive if (said := _failure(claim))]
    if failed:
        lines = [f"NodeClaim {name_of(claim)}: {said}" for claim, said in failed]
        return ClaimState(
            ready=False,
            reason=Reason.ClaimLaunchFailed,
            message="\n".join(lines),
            actions=tuple(actions),
            look_again=60.0,
        )
    waiting = [claim for claim in alive if not _is_ready(claim)]
    if waiting:
        lines = [f"NodeClaim {name_of(claim)}: {_step(claim)}" for claim in waiting]
        return ClaimState(
            ready=False,
            reason=Reason.ClaimsPending,
            message="\n".join(lines),
            actions=tuple(actions),
            look_again=60.0,
        )
    if not alive:
        return ClaimState(
            ready=True,
            reason=Reason.NoClaimsNeeded,
            message="The nodes that were there are enough.",
            actions=tuple(actions),
        )
    ready = ", ".join(name_of(claim) for claim in alive)
    return ClaimState(
        ready=True,
        reason=Reason.ClaimsReady,
        message=f"Ready: {ready}.",
        actions=tuple(actions),
    )


def _is_ready(claim: Json) -> bool:
    return text(condition(claim, "Ready"), "status") == "True"


def _failure(claim: Json) -> str | None:
    """The cloud's words, if it gives no node."""
    for step in _STEPS:
        found = condition(claim, step)
        if text(found, "status") == "False":
            said = text(found, "message") or text(found, "reason") or f"{step} is False"
            return said[:_LONGEST]
    return None


def _step(claim: Json) -> str:
    """How far one claim is."""
    for step in _STEPS:
        found = condition(claim, step)
        if text(found, "status") != "True":
            said = text(found, "message")
            return f"not {step.lower()} yet" + (f": {said[:_LONGEST]}" if said else "")
    return "not ready yet"


def _pause(
    observed: Observed, who: Identity, claims: Sequence[Json], now: datetime
) -> ClaimState | None:
    """Whether to wait before the next try, by what the last ones met."""
    ours = re.compile(re.escape(names.claim(who.namespace, who.name, 0)[:-1]) + r"\d+")
    failures = [
        event
        for event in observed.events
        if text(event, "involvedObject", "kind") == KIND
        and ours.fullmatch(text(event, "involvedObject", "name"))
    ]
    prior = _prior(observed)
    said = _last_words(failures) or text(prior, "message").partition("\nNext try at ")[0]
    until = _after_events(failures)
    if text(prior, "reason") == Reason.ClaimLaunchFailed.code and not claims:
        noted = _noted(text(prior, "message"))
        blind = until is None and noted is None
        until = (
            now + timedelta(seconds=_BLIND_PAUSE)
            if blind
            else max(one for one in (until, noted) if one is not None)
        )
    if until is None or until <= now:
        return None
    return ClaimState(
        ready=False,
        reason=Reason.ClaimLaunchFailed,
        message=f"{said}\nNext try at {written(until)}.",
        look_again=(until - now).total_seconds() + 1,
    )


def _prior(observed: Observed) -> Json:
    return condition(observed.workspace, "NodeClaimReady")


def _noted(message: str) -> datetime | None:
    """The time of the next try, as we wrote it down the last time."""
    found = _NEXT_TRY.search(message)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _when(event: Json) -> datetime | None:
    return (
        moment(event, "series", "lastObservedTime")
        or moment(event, "lastTimestamp")
        or moment(event, "eventTime")
        or moment(event, "metadata", "creationTimestamp")
    )


def _last_words(events: Sequence[Json]) -> str:
    dated = [(when, event) for event in events if (when := _when(event)) is not None]
    if not dated:
        return ""
    _, last = max(dated, key=lambda pair: pair[0])
    return f"NodeClaim {text(last, 'involvedObject', 'name')}: {text(last, 'message')[:_LONGEST]}"


def _after_events(events: Sequence[Json]) -> datetime | None:
    """When to try next: each failure doubles the pause."""
    times = [when for event in events if (when := _when(event)) is not None]
    if not times:
        return None
    tries = sum(
        max(whole(event, "count") or whole(event, "series", "count") or 1, 1) for event in events
    )
    pause = min(_FIRST_PAUSE * 2 ** min(tries - 1, 10), _LONGEST_PAUSE)
    try:
        # To the second, as it is written: so that what was noted is what is computed.
        return (max(times) + timedelta(seconds=pause)).replace(microsecond=0)
    except OverflowError:
        return None


def _claim(
    who: Identity, spec: Spec, shape: Shape, observed: Observed, name: str
) -> dict[str, Any]:
    node_class = observed.settings.node_class
    assert node_class is not None
    return node_claim(
        name,
        who=who,
        spec=spec,
        gpus=shape.gpus,
        disk=shape.disk + 80 * GIB,
        node_class=node_class,
    )


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"
