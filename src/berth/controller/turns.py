"""Which Workspaces are being restarted now, from what was read: so one that follows can wait.

Nothing is kept for it: a controller that starts anew finds the same ones.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from berth.cluster.fields import condition, is_going, moment, text, whole
from berth.controller.kinds import STATEFUL_SET, WORKSPACE, Key, Object
from berth.controller.store import Store
from berth.workspace.names import stateful_set, surge
from berth.workspace.reasons import Reason

LONGEST = timedelta(minutes=30)  # for which the others wait for one that does not become ready
_BEGINS = (Reason.Deploying.code, Reason.RollingOut.code)


def restarting(store: Store, besides: Key, now: datetime) -> tuple[str, ...]:
    """The others, by name, that are being started or restarted and have not timed out."""
    found = (
        key for key in store.workspaces() if key != besides and _is_restarting(store, key, now)
    )
    return tuple(sorted(str(key) for key in found))


def _is_restarting(store: Store, key: Key, now: datetime) -> bool:
    workspace = store.get(WORKSPACE, *key)
    if workspace is None or is_going(workspace):
        return False
    told = condition(workspace, "InferenceReady")
    reason = text(told, "reason")
    since = moment(told, "lastTransitionTime")
    if text(told, "status") == "False" and (
        reason == Reason.StartupTimedOut.code or (since is not None and now - since > LONGEST)
    ):
        return False
    workload = store.get(STATEFUL_SET, key.namespace, stateful_set(key.name))
    if workload is None:  # ended, to be made anew
        return reason in _BEGINS
    beside = store.get(STATEFUL_SET, key.namespace, surge(key.name))
    return beside is not None or is_going(workload) or not _is_whole(workload)


def _is_whole(workload: Object) -> bool:
    """Every pod is of the newest version, and ready."""
    wanted = whole(workload, "spec", "replicas")
    seen = whole(workload, "status", "observedGeneration") or 0
    if seen < (whole(workload, "metadata", "generation") or 0):
        return False
    ready, updated = (
        whole(workload, "status", f"{of}Replicas") or 0 for of in ("ready", "updated")
    )
    return ready >= (wanted or 0) and updated >= (wanted or 0)
