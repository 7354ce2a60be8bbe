"""A second pod that answers while the only pod of a model is replaced, if there is room for it.

The new version first starts in a StatefulSet of its own, behind the same Service. Once it answers,
the model's own StatefulSet is changed, whose old pod is then ended; and once the new pod of that
answers, the second one is deleted. Which step comes next follows from what is there, so that
nothing is lost if a controller is killed in between.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from berth.cluster.fields import Json, is_going, items, moment, text, uid_of, words
from berth.workspace import names
from berth.workspace.assess import Assessment, room_beside
from berth.workspace.judgement import Judgement, no
from berth.workspace.objects.container import startup_seconds
from berth.workspace.objects.wanted import surge_of, version_of
from berth.workspace.pods import events_of, is_ready, trouble, unschedulable
from berth.workspace.reasons import Reason

_LEAVING = timedelta(seconds=60)  # after its grace; a pod of a lost node may stay for ever


def with_surge(found: Assessment, live: Json, *, restarts: bool) -> Assessment:
    """The assessment, with the second StatefulSet if it is wanted.

    Args:
        restarts: whether what is wanted ends the pod that is there.
    """
    if not _may(found):
        return found
    there = found.surge_live
    answers = there is not None and any(is_ready(p) and not is_going(p) for p in found.surge_pods)
    if not restarts or not _serves(found, live):
        # The model's own pod is on its way: until then the second one is left as it is.
        if not answers or is_going(there or {}) or _is_whole(found):
            return found
        return replace(found, surge=dict(there or {}))
    wanted = surge_of(found.wanted_stateful_set, found.who.name)
    name = names.surge(found.who.name)
    if any((one.kind, one.name) == ("StatefulSet", name) for one in found.observed.rejected):
        return found  # the API server does not let it in
    if there is None:
        if room_beside(found):
            return _waiting(found, wanted)
        # What an earlier one held of a node is free in a moment.
        return _waiting(found, None) if _leaves(found) else found
    if is_going(there):
        return _waiting(found, wanted)
    if version_of(there) != version_of(wanted):
        return _waiting(found, None)  # of a change that is no longer wanted: made anew
    if answers:
        return replace(found, surge=wanted)
    return found if _has_no_room(found, there) else _waiting(found, wanted)


def surge_judgement(found: Assessment) -> Judgement:
    """InferenceReady while the model's own pod waits for the second one."""
    said = "The new pod starts beside the old one, which answers until it is ready."
    assert found.plan is not None, "a surge is of something that can be made"
    for pod in found.surge_pods:
        if is_ready(pod):
            continue
        ill = trouble(
            pod,
            events=events_of(pod, found.observed.events),
            lost_nodes=frozenset(),
            budget=startup_seconds(found.plan),
            now=found.now,
        )
        if ill.reason is not Reason.Starting:
            return no(ill.reason, f"{ill.message}\nThe old pod goes on to answer.")
    return no(Reason.RollingOut, said)


def _may(found: Assessment) -> bool:
    """Only of one pod that is the whole of a preset's model: that keeps nothing of its own."""
    plan = found.plan
    return (
        plan is not None
        and bool(found.wanted)
        and not plan.is_group
        and plan.spec.preset is not None
        and plan.spec.count == 1
        and ("StatefulSet", names.surge(found.who.name)) not in found.children.foreign
    )


def _serves(found: Assessment, live: Json) -> bool:
    """Whether the model's own pod answers and will go on to, as long as nothing is changed."""
    return any(
        is_ready(pod) and not is_going(pod) and _version(pod) == version_of(live)
        for pod in found.pods
    )


def _is_whole(found: Assessment) -> bool:
    wanted = version_of(found.wanted_stateful_set)
    return any(
        is_ready(pod) and not is_going(pod) and _version(pod) == wanted for pod in found.pods
    )


def _has_no_room(found: Assessment, there: Json) -> bool:
    """The scheduler or a quota says otherwise than we thought: then it is done without."""
    if any(unschedulable(pod) is not None for pod in found.surge_pods):
        return True
    return not found.surge_pods and any(
        text(event, "reason") == "FailedCreate"
        and text(event, "involvedObject", "uid") == uid_of(there)
        for event in found.observed.events
    )


def _waiting(found: Assessment, wanted: dict[str, object] | None) -> Assessment:
    return replace(found, surge=wanted, waits_for_surge=True)


def _leaves(found: Assessment) -> bool:
    """Whether a pod of a second StatefulSet that was deleted is about to end."""
    name, namespace = names.surge(found.who.name), found.who.namespace
    for pod in found.observed.pods:
        owners = items(pod, "metadata", "ownerReferences")
        if text(pod, "metadata", "namespace") != namespace or not any(
            (text(one, "kind"), text(one, "name")) == ("StatefulSet", name) for one in owners
        ):
            continue
        ends = moment(pod, "metadata", "deletionTimestamp")
        if ends is None or found.now - ends < _LEAVING:
            return True
    return False


def _version(pod: Json) -> str:
    return words(pod, "metadata", "annotations").get(names.VERSION, "")
