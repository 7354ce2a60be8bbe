"""A plan leads to one fixpoint and writes nothing there."""

from __future__ import annotations

import copy

import pytest

from berth.workspace.actions import Apply, Delete, LookAgain
from berth.workspace.observed import Settings
from workspace.settled import A100, kinds, running
from workspace.worlds import Cluster, gpu_node, workspace


def test_a_workspace_becomes_a_served_model() -> None:
    cluster = running()
    assert kinds(cluster) == [
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "Service",
        "StatefulSet",
    ]
    status = cluster.workspace and cluster.workspace["status"]
    assert status
    assert status["observedGeneration"] == 1
    assert status["workerNodes"] == ["a"]
    assert status["targetNodeCount"] == 1
    assert status["endpoint"] == "http://falcon.models.svc"
    assert status["fit"]["outcome"] == "fits"
    assert all(one["observedGeneration"] == 1 for one in status["conditions"])


def test_the_stateful_set_is_made_last() -> None:
    made = [a.object["kind"] for a in running().log if isinstance(a, Apply)]
    assert made[-1] == "StatefulSet"


def test_at_the_fixpoint_nothing_is_written_and_nothing_is_looked_for() -> None:
    assert running().plan() == ()


def test_what_does_not_fit_gets_no_object_at_all() -> None:
    cluster = Cluster(workspace("llama-2-70b-chat"), [gpu_node()])
    cluster.settle()
    assert not cluster.children
    assert not any(isinstance(action, Apply | Delete) for action in cluster.log)
    assert cluster.reason("Fits") == ("False", "DoesNotFit")
    assert cluster.reason("ResourceReady") == ("False", "DoesNotFit")
    message = cluster.condition("ResourceReady")["message"]
    assert "requires at least 8" in message
    assert "weights" in message
    assert "It would fit with 8 x NVIDIA-L4" in message


def test_what_does_not_fit_yet_is_deployed_once_it_does() -> None:
    cluster = Cluster(workspace("llama-2-70b-chat"), [gpu_node()])
    cluster.settle()
    cluster.nodes.append(gpu_node("b", 4, *A100))
    cluster.settle()
    assert cluster.reason("ResourceReady")[0] == "True"
    assert "StatefulSet" in kinds(cluster)


def test_a_deleted_child_is_made_again() -> None:
    cluster = running()
    for key in list(cluster.children):
        if key[0] != "StatefulSet":
            del cluster.children[key]
            cluster.settle()
    assert len(cluster.children) == 5


def test_an_edited_child_is_put_right() -> None:
    cluster = running()
    cluster.child("Service", "falcon")["spec"]["ports"][0]["port"] = 81
    cluster.child("StatefulSet")["spec"]["replicas"] = 3
    cluster.settle()
    assert cluster.child("Service", "falcon")["spec"]["ports"][0]["port"] == 80
    assert cluster.child("StatefulSet")["spec"]["replicas"] == 1


def test_a_field_that_is_no_longer_wanted_is_taken_away() -> None:
    """The live object still has all that is wanted, and more: the hash tells."""
    cluster = Cluster(
        workspace(options={"imagePullSecrets": ["s"], "image": "own:1"}), [gpu_node()]
    )
    cluster.settle()
    inference = {"preset": {"name": "falcon-7b", "presetOptions": {"image": "own:1"}}}
    cluster.edit(inference=inference)
    cluster.settle()
    spec = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    assert "imagePullSecrets" not in spec


def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    cluster = running()
    cluster.child("StatefulSet")["metadata"]["deletionTimestamp"] = "2026-11-21T09:00:00Z"
    actions = cluster.plan()
    assert not [a for a in actions if isinstance(a, Apply | Delete)]
    assert any(isinstance(a, LookAgain) and a.seconds <= 5 for a in actions)
    cluster.step()
    assert cluster.reason("InferenceReady")[0] == "False"


def test_an_object_of_an_earlier_shape_is_deleted_by_its_uid() -> None:
    cluster = running()
    orphan = copy.deepcopy(cluster.child("Service", "falcon"))
    orphan["metadata"] |= {"name": "falcon-old", "uid": "orphan"}
    cluster.children["Service", "falcon-old"] = orphan
    deletes = [a for a in cluster.plan() if isinstance(a, Delete)]
    assert [(a.name, a.uid) for a in deletes] == [("falcon-old", "orphan")]


def test_a_policy_that_the_chart_no_longer_wants_is_deleted() -> None:
    cluster = running()
    cluster.settings = Settings(network_policy=False)
    cluster.settle()
    assert "NetworkPolicy" not in kinds(cluster)


def test_the_model_s_own_pods_take_nothing_of_what_it_is_measured_on() -> None:
    """Otherwise the node that it runs on would be full as soon as it runs there."""
    cluster = running()
    del cluster.child("StatefulSet")["metadata"]["annotations"]["berth/placed"]
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_a_workspace_from_a_backup_is_no_dead_end() -> None:
    """Its status tells of more generations than the restored object has had."""
    cluster = Cluster(workspace(status={"observedGeneration": 7}), [gpu_node()])
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"
    assert cluster.workspace
    assert cluster.workspace["status"]["observedGeneration"] == 1


def test_a_workspace_that_is_being_deleted_gets_nothing_any_more() -> None:
    cluster = running()
    assert cluster.workspace
    cluster.workspace["metadata"]["deletionTimestamp"] = "2026-11-21T09:00:00Z"
    cluster.children.clear()
    assert cluster.plan() == ()


@pytest.mark.parametrize("missing", ["name", "namespace", "uid", "resourceVersion"])
def test_an_object_that_cannot_be_written_to_is_left_alone(missing: str) -> None:
    cluster = Cluster(workspace(), [gpu_node()])
    assert cluster.workspace
    del cluster.workspace["metadata"][missing]
    assert cluster.plan() == ()
