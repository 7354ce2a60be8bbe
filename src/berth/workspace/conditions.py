"""Conditions and status of a Workspace: from what is observed, never from what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from berth.cluster.fields import (
    Json,
    condition,
    is_going,
    items,
    mapping,
    moment,
    text,
    written,
)
from berth.workspace import names
from berth.workspace.actions import Apply
from berth.workspace.assess import Assessment, assess
from berth.workspace.claims import ClaimState
from berth.workspace.diff import is_current
from berth.workspace.inference import inference, lost_nodes, resources
from berth.workspace.judgement import Judgement, no, state_of, unknown, yes
from berth.workspace.objects.container import startup_seconds
from berth.workspace.observed import Observed
from berth.workspace.placing import Unplaced
from berth.workspace.pods import deadline, is_ready
from berth.workspace.reasons import Reason
from berth.workspace.restarts import consider
from berth.workspace.shape import Shape
from berth.workspace.spec import Identity, Refusal, Spec, identity
from berth.workspace.types import Condition, Status
from berth.workspace.up_to_date import up_to_date

_LONGEST_MESSAGE = 32_000  # characters; the API server takes 32,768
_LONGEST_NEWS = 1000  # of an event, which takes 1,024
_MODEL_SERVES = "The model answers."
# Of a pod of the Workspace's own only its readiness probe is known: its own, or that it listens.
_OWN_POD_SERVES = "The pods are ready: their readiness probe succeeds."
_DERIVED = ("WorkspaceReady", "WorkspaceSucceeded")
# Steps of a start that goes well: told, but nothing to be warned of.
_CALM = frozenset(
    {
        Reason.Starting,
        Reason.Deploying,
        Reason.RollingOut,
        Reason.Scaling,
        Reason.ClaimsPending,
        Reason.NotDeployed,
        Reason.Deleting,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """An event."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The status to be, and what of it is new."""

    status: dict[str, Any]
    changed: bool
    news: tuple[News, ...]
    waits: bool = False  # for something of which no event tells
    look_again: tuple[float, ...] = ()  # seconds


def conditions(observed: Observed, now: datetime) -> dict[str, Any]:
    """The status that this Workspace should have now; empty if it cannot be read at all."""
    who = identity(observed)
    if who is None:
        return {}
    return judge(consider(assess(observed, who, now))).status


def judge(found: Assessment) -> Conditions:
    """All conditions, and the rest of the status."""
    judged = _judgements(found)
    spec, placement = found.spec, found.placement
    status = status_of(
        found.observed,
        found.who,
        judged,
        found.now,
        Status(
            worker_nodes=_worker_nodes(found),
            state=state_of(judged),
            target_node_count=spec.count if isinstance(spec, Spec) else 0,
            fit=placement.fit if isinstance(placement, Shape | Unplaced) else None,
            endpoint=_endpoint(found),
        ),
    )
    waits = judged["WorkspaceReady"].status != "True" and not (
        isinstance(spec, Refusal)
        and spec.reason not in (Reason.ConfigMissing, Reason.ConfigInvalid)
    )
    return Conditions(
        status=status.status,
        changed=status.changed,
        news=status.news,
        waits=waits,
        look_again=_deadlines(found),
    )


def ending_status(
    observed: Observed, who: Identity, claims: Sequence[str], now: datetime
) -> Conditions:
    """Of a Workspace that is being deleted and waits for its claims."""
    message = f"The Workspace is being deleted; NodeClaims that are left: {', '.join(claims)}."
    ended = no(Reason.Deleting, message)
    judged = {
        "ResourceReady": ended,
        "InferenceReady": ended,
        "WorkspaceReady": ended,
        "WorkspaceSucceeded": ended,
        "WorkspaceDeleting": yes(Reason.Deleting, message),
    }
    return status_of(observed, who, judged, now, Status(state=state_of(judged)))


def status_of(
    observed: Observed,
    who: Identity,
    judged: Mapping[str, Judgement],
    now: datetime,
    rest: Status,
) -> Conditions:
    """The whole status, with times that only move when a condition's status does."""
    written_conditions = [
        _condition(observed, who, kind, judgement, now) for kind, judgement in judged.items()
    ]
    status = msgspec.structs.replace(
        rest, observed_generation=who.generation, conditions=written_conditions
    )
    plain: dict[str, Any] = msgspec.to_builtins(status)
    return Conditions(
        status=plain,
        changed=not _same(mapping(observed.workspace, "status"), plain),
        news=tuple(_news(observed, judged)),
    )


def _judgements(found: Assessment) -> dict[str, Judgement]:
    judged: dict[str, Judgement] = {"Fits": _fits(found)}
    if found.claims is not None:
        judged["NodeClaimReady"] = _claims(found, found.claims)
    live = found.stateful_set
    judged["ResourceReady"] = _resources(found, live)
    judged["InferenceReady"] = _inference(found, live, judged)
    own = isinstance(found.spec, Spec) and found.spec.template is not None
    whole_one = _workspace(judged, _OWN_POD_SERVES if own else _MODEL_SERVES)
    if live is not None:
        judged["UpToDate"] = up_to_date(found, live)
    return {**judged, **dict.fromkeys(_DERIVED, whole_one)}


def _claims(found: Assessment, state: ClaimState) -> Judgement:
    asked = {one.object["metadata"]["name"] for one in state.actions if isinstance(one, Apply)}
    for one in found.observed.rejected:
        if one.kind == "NodeClaim" and one.name in asked:
            return no(Reason.WriteRejected, f"NodeClaim {one.name}: {one.message}")
    return (yes if state.ready else no)(state.reason, state.message)


def _fits(found: Assessment) -> Judgement:
    spec, placement = found.spec, found.placement
    if isinstance(spec, Refusal):
        return unknown(spec.reason, spec.message)
    if spec.template is not None:
        return unknown(Reason.NotMeasured, "A pod of one's own is not measured.")
    if placement is None or placement.fit is None:
        if isinstance(placement, Unplaced) and placement.fits == "False":
            return no(Reason.DoesNotFit, placement.message)
        return unknown(Reason.NothingToMeasure, "There is no node whose memory is known.")
    fit = placement.fit
    truth = "True" if isinstance(placement, Shape) else placement.fits
    if truth == "False":
        assert isinstance(placement, Unplaced)
        return no(Reason.DoesNotFit, placement.message)
    if truth == "Unknown":
        return unknown(Reason.NothingToMeasure, fit.message)
    reason = Reason.FitsNodes if fit.outcome == "fits" else Reason.FitsWithLess
    return yes(reason, fit.message)


def _resources(found: Assessment, live: Json | None) -> Judgement:
    spec, placement = found.spec, found.placement
    if isinstance(spec, Refusal):
        return no(spec.reason, spec.message)
    if isinstance(placement, Unplaced):
        if found.claims is not None and not found.claims.ready:
            return _claims(found, found.claims)
        return no(placement.reason, placement.message)
    if live is not None:
        return resources(found, live)
    return yes(Reason.NodesReady, f"There is room on {', '.join(found.nodes[:20])}.")


def _inference(found: Assessment, live: Json | None, judged: Mapping[str, Judgement]) -> Judgement:
    if not found.wanted:
        reason = judged["ResourceReady"].reason
        if live is not None:
            why = found.behind or judged["ResourceReady"]
            return no(
                Reason.EarlierGeneration,
                f"What was deployed before stays; this generation is not deployed: {why.message}",
            )
        return no(Reason.NotDeployed, f"Nothing was created ({reason.code}).")
    taken = _taken(found)
    if taken is not None:
        return taken
    rejected = _rejected(found)
    if rejected is not None:
        return rejected
    if live is None:
        return no(Reason.Deploying, "The objects are being made.")
    return inference(found, live)


def _taken(found: Assessment) -> Judgement | None:
    for wanted in found.wanted:
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        other = found.children.foreign.get((kind, name))
        if other is None:
            continue
        owner = next(
            (
                f"{text(one, 'kind')} {text(one, 'name')} (uid {text(one, 'uid')})"
                for one in items(other, "metadata", "ownerReferences")
            ),
            "no owner that it names",
        )
        end = ", and is being deleted" if is_going(other) else ""
        where = f"{kind} {found.who.namespace}/{name}"
        return no(Reason.NameTaken, f"{where} is there already; it belongs to {owner}{end}.")
    return None


def _rejected(found: Assessment) -> Judgement | None:
    """What the API server said of an object that still is not as wanted."""
    words = {(one.kind, one.name): one.message for one in found.observed.rejected}
    for wanted in found.wanted:
        key = wanted["kind"], wanted["metadata"]["name"]
        live = found.children.own.get(key)
        if key in words and (live is None or not is_current(wanted, live)):
            return no(Reason.WriteRejected, f"{key[0]} {key[1]}: {words[key]}")
    return None


def _workspace(judged: Mapping[str, Judgement], serves: str) -> Judgement:
    fits = judged["Fits"]
    if fits.status == "False":
        return no(fits.reason, fits.message)
    # If nothing could be measured, the nodes' own condition says more.
    for judgement in (*(j for kind, j in judged.items() if kind != "Fits"), fits):
        if judgement.status != "True" and judgement.reason is not Reason.NotMeasured:
            return no(judgement.reason, judgement.message)
    return yes(Reason.WorkspaceServes, serves)


def _worker_nodes(found: Assessment) -> list[str]:
    bound = {text(pod, "spec", "nodeName") for pod in found.pods} - {""}
    return sorted(bound)


def _endpoint(found: Assessment) -> str:
    """Where clients call: the load balancer, or the Service's name in the cluster."""
    name = names.service(found.who.name)
    live = found.children.own.get(("Service", name))
    if live is None:
        return ""
    if text(live, "spec", "type") == "LoadBalancer":
        for entry in items(live, "status", "loadBalancer", "ingress"):
            host = text(entry, "hostname") or text(entry, "ip")
            if host:
                return f"http://[{host}]" if ":" in host else f"http://{host}"
    return f"http://{name}.{found.who.namespace}.svc"


def _deadlines(found: Assessment) -> tuple[float, ...]:
    """When a pod that starts will have taken too long."""
    if found.plan is None:
        return ()
    budget = startup_seconds(found.plan)
    lost = lost_nodes(found)
    ends = [
        deadline(pod, budget)
        for pod in (*found.pods, *found.surge_pods)
        if not is_ready(pod) and text(pod, "spec", "nodeName") not in lost
    ]
    left = [(end - found.now).total_seconds() for end in ends if end is not None]
    return tuple(seconds + 1 for seconds in left if seconds > 0)


def _condition(
    observed: Observed, who: Identity, kind: str, judgement: Judgement, now: datetime
) -> Condition:
    before = condition(observed.workspace, kind)
    since = now
    if text(before, "status") == judgement.status:
        since = moment(before, "lastTransitionTime") or now
    return Condition(
        type=kind,
        status=judgement.status,
        observed_generation=who.generation,
        last_transition_time=written(since),
        reason=judgement.reason.code,
        message=judgement.message[:_LONGEST_MESSAGE],
    )


def _same(before: Json, after: Mapping[str, Any]) -> bool:
    """Whether writing would change nothing; fields that are no longer ours do not count."""
    try:
        read = msgspec.convert(dict(before), Status)
    except (msgspec.ValidationError, ValueError, RecursionError):
        return False
    return bool(msgspec.to_builtins(read) == after)


def _news(observed: Observed, judged: Mapping[str, Judgement]) -> list[News]:
    """One event for each reason that is new, not for each condition that repeats it."""
    told: dict[str, News] = {}
    for kind, judgement in judged.items():
        before = condition(observed.workspace, kind)
        reason = judgement.reason.code
        unchanged = (text(before, "status"), text(before, "reason")) == (judgement.status, reason)
        if unchanged:
            continue
        repeats = kind in _DERIVED and judgement.status != "True"
        if kind == "UpToDate":  # told where nothing else tells of it
            repeats = judgement.reason is Reason.Current and not before
            repeats = repeats or (
                judgement.reason in _CALM and judged["InferenceReady"].status != "True"
            )
        if repeats or judgement.reason in (Reason.NotDeployed, Reason.NothingToMeasure):
            continue  # another condition says why
        warn = judgement.status == "False" and judgement.reason not in _CALM
        news = News(
            type="Warning" if warn else "Normal",
            reason=reason,
            message=judgement.message[:_LONGEST_NEWS],
        )
        told.setdefault(reason, news)
    return list(told.values())
