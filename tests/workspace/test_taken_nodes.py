"""What other pods hold is waited for; it changes neither the shape nor whether a model fits."""

from __future__ import annotations

import pytest

from workspace.settled import A100, CPU, container, settled
from workspace.worlds import Object, busy_pod, cpu_node, gpu_node, workspace


def test_a_busy_node_is_no_reason_to_split_a_model() -> None:
    nodes = [gpu_node("a"), gpu_node("b")]
    cluster = settled(workspace(count=2), nodes, pods=[busy_pod("a"), busy_pod("b", name="p")])
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")
    assert cluster.reason("Fits") == ("True", "FitsNodes")
    assert not cluster.children
    cluster.others.clear()
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pods_that_have_ended_hold_nothing(phase: str) -> None:
    ended = busy_pod("a")
    ended["status"]["phase"] = phase
    assert settled(workspace(), [gpu_node()], pods=[ended]).reason("WorkspaceReady")[0] == "True"


@pytest.mark.parametrize(
    ("init", "free"),
    [([{"restartPolicy": "Always"}], False), ([{}], True)],
    ids=["sidecar", "init"],
)
def test_a_sidecar_counts_with_the_containers(init: list[Object], free: bool) -> None:
    """An init container is gone before the others begin: the larger of the two counts."""
    limits = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pod = busy_pod("a")
    pod["spec"]["initContainers"] = [one | limits for one in init]
    cluster = settled(workspace(), [gpu_node("a", 2)], pods=[pod])
    assert (cluster.reason("ResourceReady")[0] == "True") is free


def test_small_nodes_do_not_split_a_model_that_waits_for_busy_ones() -> None:
    """Two whole ones could be had, if others left: that is what resource.count means then."""
    large = [gpu_node(name, 1, *A100) for name in "ab"]
    small = [gpu_node(name, 1, "Tesla-V100-PCIE-16GB", 16384) for name in "cd"]
    ws = workspace("llama-2-13b-chat", count=2)
    pods = [busy_pod("a"), busy_pod("b", name="p")]
    cluster = settled(ws, [*large, *small], pods=pods)
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")
    assert not cluster.children


def test_a_busy_node_does_not_keep_free_ones_from_making_a_group() -> None:
    nodes = [gpu_node(name, 1, *A100) for name in "abc"]
    ws = workspace("llama-2-70b-chat", count=2)
    cluster = settled(ws, nodes, pods=[busy_pod("a")])
    assert "--nnodes=2" in container(cluster)["args"]


def test_a_group_whose_nodes_are_taken_waits_for_them() -> None:
    nodes = [gpu_node(name, 1, *A100) for name in "ab"]
    ws = workspace("llama-2-70b-chat", count=2)
    cluster = settled(ws, nodes, pods=[busy_pod("a"), busy_pod("b", name="p")])
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")
    assert cluster.reason("Fits") == ("True", "FitsNodes")
    cluster.others.clear()
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_taken_nodes_on_which_it_would_not_fit_either() -> None:
    cluster = settled(workspace("llama-2-70b-chat"), [gpu_node()], pods=[busy_pod("a")])
    assert cluster.reason("Fits") == ("False", "DoesNotFit")


def test_memory_that_other_pods_hold_is_no_verdict_on_the_node() -> None:
    other = busy_pod("c")
    other["spec"]["containers"][0]["resources"] = {"requests": {"memory": "7900Mi"}}
    cluster = settled(workspace("pocket", **CPU), [cpu_node()], pods=[other])
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")
    assert cluster.reason("Fits") == ("True", "FitsNodes")


def test_gpu_nodes_that_are_taken_do_not_send_a_model_to_ram() -> None:
    nodes = [gpu_node("a"), cpu_node(labels={"pool": "gpu"})]
    cluster = settled(workspace("smollm-135m-instruct"), nodes, pods=[busy_pod("a")])
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")
