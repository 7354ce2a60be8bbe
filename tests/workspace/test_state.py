"""status.state, in KAITO's words."""

from __future__ import annotations

from workspace.worlds import Cluster, crash, gpu_node, set_ready, workspace


def _state(cluster: Cluster) -> str:
    assert cluster.workspace is not None
    return str(cluster.workspace["status"]["state"])


def test_pending_until_it_answers() -> None:
    cluster = Cluster(workspace(), [])
    cluster.settle()
    assert _state(cluster) == "Pending"
    cluster.nodes = [gpu_node()]
    cluster.pods_become_ready = False
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "Starting")
    assert _state(cluster) == "Pending"
    set_ready(cluster.pods["falcon-0"], True)
    cluster.settle()
    assert _state(cluster) == "Ready"


def test_not_ready_where_something_runs_and_does_not_answer() -> None:
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.settle()
    crash(cluster.pods["falcon-0"])
    cluster.settle()
    assert _state(cluster) == "NotReady"


def test_not_ready_while_an_earlier_generation_is_left_as_it_is() -> None:
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.settle()
    assert cluster.workspace is not None
    cluster.edit(inference=cluster.workspace["inference"] | {"config": "missing"})
    cluster.settle()
    assert _state(cluster) == "NotReady"


def test_a_workspace_that_says_something_wrong_is_pending() -> None:
    cluster = Cluster(workspace("no-such-model"), [gpu_node()])
    cluster.settle()
    assert _state(cluster) == "Pending"
