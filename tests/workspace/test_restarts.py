"""Pods that answer are kept while what new ones need is missing, and while others are restarted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from berth.workspace.actions import Apply, LookAgain, LookFor
from berth.workspace.needs import Need
from berth.workspace.observed import Settings
from workspace.worlds import Cluster, gpu_node, set_ready, workspace

KEYS = Need("Secret", "keys")


@pytest.fixture
def cluster() -> Cluster:
    """A model that answers; then the chart names a Secret."""
    found = Cluster(workspace(), [gpu_node()])
    found.settle()
    found.settings = Settings(api_key_secret="keys", look_for_secrets=True)
    return found


def _image(cluster: Cluster, tag: str, **options: Any) -> None:
    assert cluster.workspace is not None
    inference = cluster.workspace["inference"]
    chosen = {"presetOptions": {"image": f"registry.example.com/falcon:{tag}", **options}}
    cluster.edit(inference=inference | {"preset": inference["preset"] | chosen})


def _apply(cluster: Cluster) -> Apply:
    """Of the StatefulSet, in the next plan."""
    found = [one for one in cluster.plan() if isinstance(one, Apply)]
    return next(one for one in found if one.object["kind"] == "StatefulSet")


def _needs_keys(cluster: Cluster) -> bool:
    return "'name': 'keys'" in str(cluster.child("StatefulSet")["spec"]["template"])


def test_what_the_new_pods_need_is_asked_for_before_anything_is_written(cluster: Cluster) -> None:
    cluster.absent = None
    assert cluster.plan() == (LookFor(needs=(KEYS,)),)


def test_secrets_are_not_asked_for_where_the_chart_does_not_grant_it(cluster: Cluster) -> None:
    cluster.settings = replace(cluster.settings, look_for_secrets=False)
    cluster.absent = None
    assert any(isinstance(one, Apply) for one in cluster.plan())


def test_without_the_secret_the_pod_that_answers_is_kept(cluster: Cluster) -> None:
    """faults K.25."""
    before = cluster.child("StatefulSet"), dict(cluster.pods)
    cluster.absent = (KEYS,)
    cluster.settle()
    assert (cluster.child("StatefulSet"), cluster.pods) == before
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.reason("UpToDate") == ("False", "NeedsMissing")
    assert cluster.condition("UpToDate")["message"] == (
        "Secret keys is not in namespace models, and the new pods need it. Create it; until then "
        "the pods of before go on."
    )
    assert cluster.told[-1].type == "Warning"
    assert cluster.plan() == (LookAgain(seconds=10.0),), "it is looked for again"
    cluster.absent = ()
    cluster.settle()
    assert _needs_keys(cluster)
    assert cluster.reason("UpToDate") == ("True", "Current")


def test_a_kept_pod_that_stops_to_answer_is_told_of_and_no_longer_kept(cluster: Cluster) -> None:
    cluster.absent = (KEYS,)
    cluster.settle()
    set_ready(cluster.pods["falcon-0"], False)
    cluster.settle()
    assert _needs_keys(cluster), "there is nothing to lose: the kubelet says what is missing"


def test_a_change_of_the_workspace_itself_is_not_said_to_be_deployed(cluster: Cluster) -> None:
    cluster.settings = Settings()
    before = cluster.child("StatefulSet")
    cluster.absent = (Need("Secret", "hub"),)
    _image(cluster, "2", modelAccessSecret="hub")
    cluster.settle()
    assert cluster.child("StatefulSet") == before
    assert cluster.reason("WorkspaceReady") == ("False", "EarlierGeneration")
    assert "Secret hub is not in namespace models" in cluster.condition("InferenceReady")["message"]
    assert cluster.reason("UpToDate") == ("False", "NeedsMissing")


def test_another_s_turn_is_waited_for(cluster: Cluster) -> None:
    before = cluster.child("StatefulSet")
    cluster.restarting = ("models/other",)
    cluster.settle()
    assert cluster.child("StatefulSet") == before
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.reason("UpToDate") == ("False", "WaitsForTurn")
    assert "models/other is brought up first" in cluster.condition("UpToDate")["message"]
    cluster.restarting = ()
    apply = _apply(cluster)
    assert apply.takes_turn
    cluster.settle()
    assert _needs_keys(cluster)


def test_as_many_at_a_time_as_the_chart_says(cluster: Cluster) -> None:
    cluster.settings = replace(cluster.settings, max_restarts=2)
    cluster.restarting = ("models/other",)
    cluster.settle()
    assert _needs_keys(cluster)


def test_what_its_user_changes_waits_for_nobody(cluster: Cluster) -> None:
    cluster.settings = Settings()
    cluster.restarting = ("models/other",)
    _image(cluster, "2")
    apply = _apply(cluster)
    assert not apply.takes_turn
    cluster.settle()
    assert cluster.reason("UpToDate") == ("True", "Current")


def test_one_that_does_not_answer_waits_for_nobody(cluster: Cluster) -> None:
    set_ready(cluster.pods["falcon-0"], False)
    cluster.restarting = ("models/other",)
    cluster.settle()
    assert _needs_keys(cluster)


def test_more_pods_of_the_same_kind_wait_for_nobody(cluster: Cluster) -> None:
    cluster.settings = Settings()
    cluster.nodes = [gpu_node("a"), gpu_node("b")]
    cluster.restarting, cluster.absent = ("models/other",), None
    assert cluster.workspace is not None
    cluster.edit(resource=cluster.workspace["resource"] | {"count": 2})
    cluster.settle()
    assert len(cluster.pods) == 2


def test_one_that_an_earlier_controller_made_is_restarted_in_its_turn_too(
    cluster: Cluster,
) -> None:
    """Its StatefulSet and its pods lack our newer annotations: the status says whose they are."""
    cluster.settings = Settings()
    made = cluster.child("StatefulSet")
    del made["metadata"]["annotations"]["berth/asked"]
    for one in (made["spec"]["template"], cluster.pods["falcon-0"]):
        del one["metadata"]["annotations"]["berth/version"]
    cluster.restarting = ("models/other",)
    cluster._stateful_sets = lambda: None  # type: ignore[method-assign]
    cluster.settle()
    assert cluster.reason("UpToDate") == ("False", "WaitsForTurn")
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    cluster.restarting = ()
    apply = _apply(cluster)
    assert apply.takes_turn
