"""How a Workspace's pods are, in their own words: what the kubelet and the scheduler said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from berth.cluster.fields import (
    Json,
    condition,
    flag,
    is_going,
    items,
    mapping,
    moment,
    name_of,
    text,
    uid_of,
    whole,
)
from berth.workspace.last_words import last_words
from berth.workspace.reasons import Reason

_LONGEST = 1500  # characters of one pod's words; the log's last lines can be two thousand
_IMAGE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
    }
)
_CONFIG = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
    }
)
_VOLUME_EVENTS = frozenset(
    {"FailedMount", "FailedAttachVolume", "FailedMapVolume", "ProvisioningFailed", "FailedBinding"}
)
_NO_SANDBOX = "FailedCreatePodSandBox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps a pod from answering."""

    reason: Reason
    message: str


def is_ready(pod: Json) -> bool:
    """Whether it answers: the kubelet says so, and no container contradicts it."""
    statuses = items(pod, "status", "containerStatuses")
    return (
        text(condition(pod, "Ready"), "status") == "True"
        and text(pod, "status", "phase") in ("Running", "")
        and not is_going(pod)
        and all(
            flag(status, "ready")
            and not {"waiting", "terminated"} & mapping(status, "state").keys()
            for status in statuses
        )
    )


def is_bound(pod: Json) -> bool:
    """Whether the scheduler has given it a node."""
    return bool(text(pod, "spec", "nodeName"))


def unschedulable(pod: Json) -> str | None:
    """The scheduler's words, if it found no node."""
    scheduled = condition(pod, "PodScheduled")
    if is_bound(pod) or text(scheduled, "status") != "False":
        return None
    return text(scheduled, "message") or text(scheduled, "reason") or "no node was found"


def trouble(
    pod: Json, *, events: Sequence[Json], lost_nodes: frozenset[str], budget: int, now: datetime
) -> Trouble:
    """Why a pod that is not ready is not.

    Args:
        events: Warning events of this pod and of its volumes.
        lost_nodes: names of nodes that are not Ready.
        budget: seconds that it may take to become ready.
    """
    name = name_of(pod)
    if is_going(pod):
        return _trouble(Reason.RollingOut, name, "is being ended")
    if text(pod, "spec", "nodeName") in lost_nodes:
        return _trouble(Reason.NodeLost, name, "is on a node that is not Ready")
    if text(pod, "status", "phase") == "Failed":
        said = text(pod, "status", "message") or text(pod, "status", "reason")
        return _trouble(Reason.PodEvicted, name, said or "failed")
    if text(pod, "status", "reason") == "Evicted":
        return _trouble(Reason.PodEvicted, name, text(pod, "status", "message") or "was evicted")
    volume = _volume_trouble(pod, events)
    if volume is not None:
        return volume
    words = unschedulable(pod)
    if words is not None:
        return _trouble(Reason.Unschedulable, name, words)
    statuses = (
        *items(pod, "status", "initContainerStatuses"),
        *items(pod, "status", "containerStatuses"),
    )
    for status in statuses:
        found = _container(pod, status)
        if found is not None:
            return found
    sandbox = next((e for e in events if text(e, "reason") == _NO_SANDBOX), None)
    if sandbox is not None and not any(_runs(status) for status in statuses):
        return _trouble(Reason.ContainerConfigError, name, text(sandbox, "message"))
    return _waiting(pod, statuses, budget, now)


def _volume_trouble(pod: Json, events: Sequence[Json]) -> Trouble | None:
    """What the storage says, as long as no container runs: then its events are over."""
    if any(_runs(status) for status in items(pod, "status", "containerStatuses")):
        return None
    for event in events:
        if text(event, "reason") in _VOLUME_EVENTS:
            said = text(event, "message") or text(event, "reason")
            return _trouble(Reason.VolumeError, name_of(pod), said)
    return None


def _runs(status: Json) -> bool:
    return "running" in mapping(status, "state")


def _ready_since_start(pod: Json, status: Json) -> bool | None:
    """Whether the pod has been Ready since this container began; None: the times are not written.

    A pod that is not Ready stopped to be so at the condition's last transition.
    """
    changed = moment(condition(pod, "Ready"), "lastTransitionTime")
    began = moment(status, "state", "running", "startedAt")
    return None if changed is None or began is None else changed > began


def _container(pod: Json, status: Json) -> Trouble | None:
    """What its present state says; None if it runs, or has not begun.

    One that runs again after it crashed still is one that crashes, until it has been ready.
    """
    name = name_of(pod)
    waiting = text(status, "state", "waiting", "reason")
    said = text(status, "state", "waiting", "message") or waiting
    if waiting in _IMAGE:
        return _trouble(Reason.ImagePullError, name, said)
    if waiting in _CONFIG:
        return _trouble(Reason.ContainerConfigError, name, said)
    now = mapping(status, "state", "terminated")
    ended = now or mapping(status, "lastState", "terminated")
    times = (whole(status, "restartCount") or 0) + bool(now)
    if _runs(status) and (flag(status, "ready") or not times or _ready_since_start(pod, status)):
        return None  # that it once ended is not what keeps it from answering now
    if not _runs(status) and waiting != "CrashLoopBackOff" and not now:
        return None
    if now and whole(now, "exitCode") == 0 and text(now, "reason") != "OOMKilled":
        return None
    if text(ended, "reason") == "OOMKilled":
        return _trouble(Reason.ContainerOOMKilled, name, f"took too much memory ({_end(ended)})")
    if waiting == "CrashLoopBackOff" or times > 1:
        often = f"has ended {times} times" if times > 1 else "has ended once"
        return _trouble(Reason.ContainerCrashLoopBackOff, name, f"{often}; it last {_end(ended)}")
    return _trouble(Reason.ContainerRestarting, name, _end(ended))


def _end(ended: Json) -> str:
    """How a container ended, with its last words."""
    if not ended:
        return "ended for a reason that was not kept"
    code, signal = whole(ended, "exitCode"), whole(ended, "signal")
    how = f"ended by signal {signal}" if signal else f"exited with status {code}"
    last = last_words(text(ended, "message"))
    return f"{how}: {last}" if last else how


def _waiting(pod: Json, statuses: Sequence[Json], budget: int, now: datetime) -> Trouble:
    name = name_of(pod)
    ready = condition(pod, "Ready")
    running = [one for one in statuses if _runs(one)]
    began = _began(pod)
    # Started is not yet ready: the readiness probe is asked after the startup probe.
    was_ready = any(_ready_since_start(pod, one) is not False for one in running)
    if was_ready and all(flag(s, "started") for s in statuses):
        said = text(ready, "message") or "its readiness probe fails"
        return _trouble(Reason.NotAnswering, name, said)
    if began is not None and now - began > timedelta(seconds=budget):
        return _trouble(Reason.StartupTimedOut, name, f"is not ready after {budget // 60} minutes")
    waiting = next((text(s, "state", "waiting", "reason") for s in statuses), "")
    if not is_bound(pod):
        return _trouble(Reason.Starting, name, "waits for the scheduler")
    if waiting or not statuses:
        return _trouble(Reason.Starting, name, "is being made, and its image pulled")
    return _trouble(Reason.Starting, name, "pulls weights or loads the model")


def _began(pod: Json) -> datetime | None:
    """When what it does now began: its container's last start, else its own."""
    starts = [
        moment(status, "state", "running", "startedAt")
        for status in items(pod, "status", "containerStatuses")
    ]
    known = [start for start in starts if start is not None]
    if known:
        return max(known)
    return moment(pod, "status", "startTime") or moment(pod, "metadata", "creationTimestamp")


def deadline(pod: Json, budget: int) -> datetime | None:
    """When a pod that is still starting will have taken too long."""
    began = _began(pod)
    if began is None:
        return None
    try:
        return began + timedelta(seconds=budget)
    except OverflowError:
        return None


def events_of(pod: Json, events: Sequence[Json]) -> list[Json]:
    """Those whose object this pod is, or a volume claim of its name."""
    uid, name = uid_of(pod), name_of(pod)
    return [
        event
        for event in events
        if text(event, "involvedObject", "uid") == uid
        or (
            text(event, "involvedObject", "kind") == "PersistentVolumeClaim"
            and text(event, "involvedObject", "name").endswith(f"-{name}")
        )
    ]


def _trouble(reason: Reason, pod: str, words: str) -> Trouble:
    return Trouble(reason=reason, message=f"Pod {pod}: {words[: _LONGEST + 200]}")
