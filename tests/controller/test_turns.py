"""Which Workspaces are being restarted: read from the store, and again after a crash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from berth.controller.kinds import STATEFUL_SET, WORKSPACE, Key
from berth.controller.store import Store
from berth.controller.turns import LONGEST, restarting
from berth.workspace.names import surge
from controller.simulator.objects import NAMESPACE, workspace

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ME = Key(NAMESPACE, "me")
WHOLE = {"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 2}


def store_with(
    status: dict[str, Any] | None,
    reason: str = "Starting",
    since: timedelta = timedelta(minutes=1),
    truth: str = "False",
) -> Store:
    """Another Workspace with a StatefulSet of two pods; without a status: no StatefulSet."""
    store = Store()
    other = workspace("other")
    other["metadata"] |= {"uid": "w", "resourceVersion": "5"}
    when = (NOW - since).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = {"type": "InferenceReady", "status": truth, "reason": reason}
    other["status"] = {"conditions": [told | {"lastTransitionTime": when}]}
    store.upsert(WORKSPACE, other)
    if status is not None:
        metadata = {"namespace": NAMESPACE, "name": "other", "uid": "s", "resourceVersion": "6"}
        workload = {"metadata": metadata | {"generation": 2}, "spec": {"replicas": 2}}
        store.upsert(STATEFUL_SET, workload | {"status": status})
    return store


@pytest.mark.parametrize(
    "status",
    [
        {},
        WHOLE | {"observedGeneration": 1},
        WHOLE | {"readyReplicas": 1},
        WHOLE | {"updatedReplicas": 1},
    ],
)
def test_one_whose_pods_are_not_all_new_and_ready(status: dict[str, Any]) -> None:
    assert restarting(store_with(status), ME, NOW) == ("models/other",)
    assert restarting(store_with(status), Key(NAMESPACE, "other"), NOW) == (), "not itself"


def test_just_applied_before_its_status_says_anything() -> None:
    store = store_with(WHOLE | {"observedGeneration": 1}, "Answering", truth="True")
    assert restarting(store, ME, NOW) == ("models/other",)


def test_one_that_is_whole_again_makes_room() -> None:
    assert restarting(store_with(WHOLE), ME, NOW) == ()


def test_one_that_timed_out_does_not_hold_up_the_others() -> None:
    broken = WHOLE | {"readyReplicas": 0}
    assert restarting(store_with(broken, "StartupTimedOut"), ME, NOW) == ()
    crashes = "ContainerCrashLoopBackOff"
    assert restarting(store_with(broken, crashes, LONGEST), ME, NOW) == ("models/other",)
    longer = LONGEST + timedelta(seconds=1)
    assert restarting(store_with(broken, crashes, longer), ME, NOW) == ()


def test_one_whose_workload_is_being_made_anew() -> None:
    assert restarting(store_with(None, "RollingOut"), ME, NOW) == ("models/other",)
    assert restarting(store_with(None, "NotDeployed"), ME, NOW) == ()


def test_one_with_a_second_stateful_set_is_at_it() -> None:
    store = store_with(WHOLE, "Answering", truth="True")
    metadata = {"namespace": NAMESPACE, "name": surge("other"), "uid": "t", "resourceVersion": "7"}
    store.upsert(STATEFUL_SET, {"metadata": metadata, "spec": {"replicas": 1}})
    assert restarting(store, ME, NOW) == ("models/other",)
