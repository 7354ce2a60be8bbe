"""Nodes that do not do, or are too few: the condition says which of it and names them."""

from __future__ import annotations

import pytest

from workspace.settled import A100, CPU, settled
from workspace.worlds import Object, busy_pod, cpu_node, gpu_node, workspace


def test_nodes_that_could_each_take_it_in_another_way() -> None:
    nodes = [gpu_node("a", 1, *A100), gpu_node("b", 8, "NVIDIA-L4", 23034)]
    cluster = settled(workspace("llama-2-13b-chat", count=2), nodes)
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")
    assert "not with the same number of GPUs" in cluster.condition("ResourceReady")["message"]
    assert cluster.reason("Fits")[0] == "True"


def test_slices_of_a_shared_gpu_are_no_gpus_of_their_own() -> None:
    """Time-slicing offers each GPU four times; a second model on it would have no memory."""
    shared = gpu_node("a", 1, labels={"nvidia.com/gpu.replicas": "4"})
    shared["status"]["allocatable"]["nvidia.com/gpu"] = "4"
    cluster = settled(workspace(count=2), [shared])
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")


def test_too_few_nodes() -> None:
    cluster = settled(workspace(count=2), [gpu_node("a")])
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")
    assert cluster.reason("Fits")[0] == "True"
    assert not cluster.children


def test_more_than_a_cpu_node_holds_is_too_few_nodes() -> None:
    cluster = settled(workspace("pocket", count=9, **CPU), [cpu_node(memory="2Gi")])
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")


@pytest.mark.parametrize(
    ("nodes", "reason", "words"),
    [
        pytest.param([], "NoNodes", "no nodes", id="none"),
        pytest.param(
            [gpu_node(labels={"pool": "x"})], "NoMatchingNode", "pool is x", id="selector"
        ),
        pytest.param([gpu_node(ready=False)], "NodeNotReady", "not Ready", id="not ready"),
        pytest.param([gpu_node(unschedulable=True)], "NodeCordoned", "cordoned", id="cordoned"),
        pytest.param(
            [gpu_node(taints=[{"key": "team", "effect": "NoSchedule"}])],
            "NodeTainted",
            "taint team:NoSchedule",
            id="taint",
        ),
    ],
)
def test_why_nodes_do_not_do(nodes: list[Object], reason: str, words: str) -> None:
    cluster = settled(workspace(), nodes)
    assert cluster.reason("ResourceReady") == ("False", reason)
    assert words in cluster.condition("ResourceReady")["message"]
    assert cluster.reason("Fits") == ("Unknown", "NothingToMeasure")
    assert cluster.reason("WorkspaceReady") == ("False", reason)
    assert not cluster.children


def test_a_node_without_a_device_plugin() -> None:
    node = gpu_node()
    del node["status"]["allocatable"]["nvidia.com/gpu"]
    cluster = settled(workspace(), [node])
    assert cluster.reason("ResourceReady") == ("False", "DevicePluginMissing")


def test_a_node_whose_gpu_nobody_knows() -> None:
    node = gpu_node()
    del node["metadata"]["labels"]["nvidia.com/gpu.product"]
    cluster = settled(workspace(), [node])
    assert cluster.reason("ResourceReady") == ("False", "GpuUnknown")


def test_an_instance_type_that_no_node_has() -> None:
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"}
    cluster = settled(workspace(instanceType="g5.2xlarge"), [gpu_node(labels=labels)])
    assert cluster.reason("ResourceReady") == ("False", "NoMatchingNode")
    assert "g5.xlarge" in cluster.condition("ResourceReady")["message"]


def template(gpus: int) -> Object:
    limits = {"limits": {"nvidia.com/gpu": str(gpus)}}
    return {"spec": {"containers": [{"name": "x", "image": "x", "resources": limits}]}}


@pytest.mark.parametrize(
    ("count", "gpus", "nodes", "pods", "reason"),
    [
        pytest.param(1, 1, [gpu_node()], [busy_pod("a")], "NodesTaken", id="taken"),
        pytest.param(1, 2, [gpu_node()], [], "NoGpuNode", id="too few GPUs"),
        pytest.param(2, 1, [gpu_node()], [], "TooFewNodes", id="too few nodes"),
        pytest.param(1, 1, [gpu_node(ready=False)], [], "NodeNotReady", id="not ready"),
        pytest.param(1, 1, [gpu_node(unschedulable=True)], [], "NodeCordoned", id="cordoned"),
        pytest.param(1, 1, [gpu_node(labels={"pool": "x"})], [], "NoMatchingNode", id="labels"),
        pytest.param(1, 1, [], [], "NoNodes", id="none"),
        pytest.param(
            1,
            1,
            [gpu_node(taints=[{"key": "team", "effect": "NoExecute"}])],
            [],
            "NodeTainted",
            id="taint",
        ),
    ],
)
def test_where_a_template_cannot_go(
    count: int, gpus: int, nodes: list[Object], pods: list[Object], reason: str
) -> None:
    ws = workspace(None, count=count, template=template(gpus))
    cluster = settled(ws, nodes, pods=pods)
    assert cluster.reason("ResourceReady") == ("False", reason)
    assert not cluster.children


def test_each_pod_of_a_template_needs_a_node_of_its_own() -> None:
    ws = workspace(None, count=2, template=template(2))
    cluster = settled(ws, [gpu_node("a", 4)])
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")
    assert "room for 1 of 2 pods" in cluster.condition("ResourceReady")["message"]
    cluster = settled(ws, [gpu_node("a", 4), gpu_node("b", 4)])
    assert cluster.child("StatefulSet")["spec"]["replicas"] == 2


def test_a_pod_of_a_template_needs_cpus_that_are_free() -> None:
    """With memory alone there would be room, and the pod would stay Pending."""
    busy = busy_pod("a")
    busy["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "15800m"}}
    wanted = template(1)
    wanted["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "500m"}
    cluster = settled(workspace(None, template=wanted), [gpu_node("a", 4)], pods=[busy])
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")
    assert "CPU" in cluster.condition("ResourceReady")["message"]
