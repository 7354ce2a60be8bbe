"""InferenceReady and, once there are pods, ResourceReady: from what the pods and events say."""

from __future__ import annotations

from collections.abc import Sequence

from berth.cluster.fields import Json, condition, is_going, name_of, text, uid_of, whole, words
from berth.cluster.nodes import is_ready as node_is_ready
from berth.workspace import names
from berth.workspace.assess import Assessment
from berth.workspace.diff import was_applied
from berth.workspace.judgement import Judgement, no, yes
from berth.workspace.objects.container import startup_seconds
from berth.workspace.objects.wanted import version_of
from berth.workspace.pods import (
    Trouble,
    events_of,
    is_bound,
    is_ready,
    trouble,
    unschedulable,
)
from berth.workspace.reasons import Reason
from berth.workspace.spec import Spec
from berth.workspace.surge import surge_judgement

_REVISION = "controller-revision-hash"
_MOST = 5  # pods in one message
_LONGEST = 1500

# What is worth telling first, if pods differ.
_ORDER = (
    Reason.ContainerOOMKilled,
    Reason.ContainerCrashLoopBackOff,
    Reason.ImagePullError,
    Reason.ContainerConfigError,
    Reason.VolumeError,
    Reason.PodEvicted,
    Reason.ContainerRestarting,
    Reason.Unschedulable,
    Reason.NodeLost,
    Reason.StartupTimedOut,
    Reason.NotAnswering,
    Reason.Starting,
    Reason.RollingOut,
)


def resources(found: Assessment, live: Json) -> Judgement:
    """ResourceReady of a Workspace whose StatefulSet is there."""
    spec = found.spec
    assert isinstance(spec, Spec)
    refused = _not_created(found, live, spec.count)
    if refused is not None:
        return refused
    homeless = [(pod, said) for pod in found.pods if (said := unschedulable(pod)) is not None]
    if homeless:
        if found.claims is not None and not found.claims.ready:
            return no(found.claims.reason, found.claims.message)
        lines = [f"Pod {name_of(pod)}: {said[:_LONGEST]}" for pod, said in homeless[:_MOST]]
        return no(Reason.Unschedulable, "\n".join(lines))
    lost = lost_nodes(found)
    ill = sorted({node for pod in found.pods if (node := text(pod, "spec", "nodeName")) in lost})
    if ill:
        return no(Reason.NodeNotReady, f"Not Ready, or gone: {', '.join(ill)}.")
    bound = sorted({text(pod, "spec", "nodeName") for pod in found.pods if is_bound(pod)})
    if len([pod for pod in found.pods if is_bound(pod)]) < spec.count and not goes_on(found):
        return no(Reason.Deploying, f"{len(found.pods)} of {spec.count} pods are there.")
    return yes(Reason.NodesReady, f"The model runs on {', '.join(bound)}.")


def inference(found: Assessment, live: Json) -> Judgement:
    """InferenceReady of a Workspace whose StatefulSet is there and belongs to this generation."""
    spec, plan = found.spec, found.plan
    assert isinstance(spec, Spec)
    assert plan is not None
    if is_going(live):
        return no(Reason.RollingOut, "The StatefulSet is being replaced.")
    if found.waits_for_surge:
        return surge_judgement(found)
    scales = goes_on(found)
    # A webhook of the cluster may make something else of it each time: that still is ours.
    if not was_applied(found.wanted_stateful_set, live) and not scales:
        return no(Reason.RollingOut, "The StatefulSet is being brought to this generation.")
    missing = [
        one["metadata"]["name"]
        for one in found.wanted
        if one["kind"] == "Service"
        and ("Service", one["metadata"]["name"]) not in found.children.own
    ]
    if missing:
        return no(Reason.Deploying, f"The Service {missing[0]} is being made.")
    seen = whole(live, "status", "observedGeneration") or 0
    revision = text(live, "status", "updateRevision")
    if (seen < (whole(live, "metadata", "generation") or 0) or not revision) and not scales:
        return no(Reason.RollingOut, "Kubernetes has not taken up the StatefulSet yet.")
    refused = _not_created(found, live, spec.count)
    if refused is not None:
        return refused
    troubles = _troubles(found, startup_seconds(plan))
    if scales:
        troubles = [one for one in troubles if one.reason is not Reason.Starting]
        if not troubles:
            ready = len(answering(found))
            said = f"{ready} of {spec.count} pods are ready."
            if not ready:
                said = "A second pod of this version answers until the model's own does."
            return yes(Reason.Answering, said)
    if troubles:
        return _worst(troubles)
    old = [
        name_of(pod)
        for pod in found.pods
        if words(pod, "metadata", "labels").get(_REVISION) != revision
    ]
    if old:
        return no(Reason.RollingOut, f"Still of an earlier version: {', '.join(old[:_MOST])}.")
    if len(found.pods) > spec.count:
        return no(Reason.RollingOut, f"{len(found.pods)} pods are there, and {spec.count} wanted.")
    if len(found.pods) < spec.count:
        return no(Reason.Deploying, f"{len(found.pods)} of {spec.count} pods are there.")
    return yes(Reason.Answering, f"{len(found.pods)} of {spec.count} pods are ready.")


def answering(found: Assessment) -> list[Json]:
    """Pods of the version that is wanted that answer."""
    version, lost = version_of(found.wanted_stateful_set), lost_nodes(found)
    return [
        pod
        for pod in found.pods
        if is_ready(pod)
        and _version(pod) == version
        and not is_going(pod)
        and text(pod, "spec", "nodeName") not in lost
    ]


def goes_on(found: Assessment) -> bool:
    """Whether a model that answered gets more or fewer pods of the same version, and answers.

    One that has not answered yet does so when all its pods do.
    """
    if not found.wanted or found.plan is None or found.plan.is_group:
        return False
    if surge_answers(found):
        return True
    before = condition(found.observed.workspace, "InferenceReady")
    if text(before, "status") != "True" or not answering(found):
        return False
    version = version_of(found.wanted_stateful_set)
    return all(_version(pod) == version for pod in found.pods if not is_going(pod))


def surge_answers(found: Assessment) -> bool:
    """Whether a second pod of the version that is wanted answers until the model's own does."""
    if found.surge is None or found.waits_for_surge:
        return False
    version = version_of(found.wanted_stateful_set)
    return any(
        is_ready(pod) and not is_going(pod) and _version(pod) == version for pod in found.surge_pods
    )


def _version(pod: Json) -> str:
    return words(pod, "metadata", "annotations").get(names.VERSION, "")


def lost_nodes(found: Assessment) -> frozenset[str]:
    """Nodes of our pods that are not Ready, or not there; none if we may see no nodes."""
    if not found.observed.nodes:
        return frozenset()
    used = {text(pod, "spec", "nodeName") for pod in found.pods} - {""}
    ready = {name_of(node) for node in found.observed.nodes if node_is_ready(node)}
    return frozenset(used - ready)


def _troubles(found: Assessment, budget: int) -> list[Trouble]:
    lost = lost_nodes(found)
    return [
        trouble(
            pod,
            events=events_of(pod, found.observed.events),
            lost_nodes=lost,
            budget=budget,
            now=found.now,
        )
        for pod in found.pods
        if not (is_going(pod) and goes_on(found))
        if not is_ready(pod) or text(pod, "spec", "nodeName") in lost
    ]


def _worst(troubles: Sequence[Trouble]) -> Judgement:
    first = min(troubles, key=lambda one: _ORDER.index(one.reason)).reason
    ordered = sorted(troubles, key=lambda one: _ORDER.index(one.reason))
    return no(first, "\n".join(one.message for one in ordered[:_MOST]))


def _not_created(found: Assessment, live: Json, count: int) -> Judgement | None:
    """Why the StatefulSet's controller cannot make pods, if some are missing."""
    if len(found.pods) >= count:
        return None
    refusals = [
        event
        for event in found.observed.events
        if text(event, "reason") == "FailedCreate"
        and text(event, "involvedObject", "uid") == uid_of(live)
        and _of_missing_pod(event, found.pods)
    ]
    if not refusals:
        return None
    last = max(refusals, key=lambda event: text(event, "lastTimestamp"))
    said = text(last, "message")[:_LONGEST]
    reason = Reason.QuotaExceeded if "exceeded quota" in said else Reason.PodsRefused
    return no(reason, said)


def _of_missing_pod(event: Json, pods: Sequence[Json]) -> bool:
    """Events outlive what they tell of: one about a pod that is there now is over."""
    said = text(event, "message").split()
    return not any(name_of(pod) in said for pod in pods)
