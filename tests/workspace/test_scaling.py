"""More or fewer pods of one version: the model goes on to answer, and UpToDate says the rest."""

from __future__ import annotations

import pytest

from workspace.worlds import Cluster, crash, gpu_node, set_ready, workspace


@pytest.fixture
def cluster() -> Cluster:
    found = Cluster(workspace(), [gpu_node(name) for name in "abc"])
    found.settle()
    return found


def _ready(cluster: Cluster) -> list[str]:
    return [cluster.reason(kind)[0] for kind in ("ResourceReady", "InferenceReady")] + [
        cluster.reason("WorkspaceReady")[0]
    ]


def _scale(cluster: Cluster, count: int) -> None:
    assert cluster.workspace is not None
    cluster.edit(resource=cluster.workspace["resource"] | {"count": count})


def test_one_to_three_to_one_is_ready_at_every_moment(cluster: Cluster) -> None:
    """faults K.22."""
    cluster.pods_become_ready = False
    _scale(cluster, 3)
    for _ in range(4):
        cluster.step()
        assert _ready(cluster) == ["True"] * 3
    assert cluster.reason("UpToDate") == ("False", "Scaling")
    assert cluster.condition("UpToDate")["message"] == "1 of 3 pods are ready."
    assert cluster.condition("InferenceReady")["observedGeneration"] == 2
    for pod in cluster.pods.values():
        set_ready(pod, True)
    cluster.settle()
    assert cluster.reason("UpToDate") == ("True", "Current")
    _scale(cluster, 1)
    for _ in range(4):
        cluster.step()
        assert _ready(cluster) == ["True"] * 3
    cluster.settle()
    assert cluster.reason("UpToDate") == ("True", "Current")


def test_before_it_has_answered_all_pods_are_waited_for() -> None:
    cluster = Cluster(workspace(count=2), [gpu_node("a"), gpu_node("b")])
    cluster.pods_become_ready = False
    cluster.settle()
    set_ready(cluster.pods["falcon-0"], True)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("False", "Starting")


def test_a_new_pod_that_crashes_is_told_of(cluster: Cluster) -> None:
    _scale(cluster, 2)
    cluster.settle()
    crash(cluster.pods["falcon-1"])
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("False", "ContainerCrashLoopBackOff")


def test_when_the_last_pod_that_answers_is_gone_nothing_is_ready(cluster: Cluster) -> None:
    cluster.pods_become_ready = False
    _scale(cluster, 2)
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"
    set_ready(cluster.pods["falcon-0"], False)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("False", "Starting")


def test_another_version_is_no_scaling(cluster: Cluster) -> None:
    """Also where both change at once, and where Kubernetes has not noticed yet."""
    cluster.pods_become_ready = False
    assert cluster.workspace is not None
    inference = cluster.workspace["inference"]
    image = {"presetOptions": {"image": "registry.example.com/falcon:2"}}
    cluster.edit(
        inference=inference | {"preset": inference["preset"] | image},
        resource=cluster.workspace["resource"] | {"count": 2},
    )
    cluster._stateful_sets = lambda: None  # type: ignore[method-assign]
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "RollingOut")
    assert cluster.reason("WorkspaceReady")[0] == "False"
