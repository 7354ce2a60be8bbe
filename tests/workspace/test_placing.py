"""Which shape a Workspace gets on which nodes, and which reason where it gets none."""

from __future__ import annotations

from typing import Any

import pytest

from workspace.worlds import (
    Cluster,
    Object,
    busy_pod,
    cpu_node,
    gpu_node,
    workspace,
)

A100 = ("NVIDIA-A100-SXM4-80GB", 81920)
CPU = {"labelSelector": {"matchLabels": {"pool": "cpu"}}}


def settled(ws: Object, nodes: list[Object], **rest: Any) -> Cluster:
    cluster = Cluster(ws, nodes, **rest)
    cluster.settle()
    return cluster


def container(cluster: Cluster) -> Object:
    found: Object = cluster.child("StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_model_that_fits_one_node_is_replicated() -> None:
    cluster = settled(workspace(count=2), [gpu_node("a"), gpu_node("b")])
    assert cluster.child("StatefulSet")["spec"]["replicas"] == 2
    assert not [arg for arg in container(cluster)["args"] if "nnodes" in arg]
    service = cluster.child("Service", "falcon")
    assert "apps.kubernetes.io/pod-index" not in service["spec"]["selector"]


def test_a_model_that_needs_several_nodes_is_one_group() -> None:
    nodes = [gpu_node("a", 1, *A100), gpu_node("b", 1, *A100)]
    cluster = settled(workspace("llama-2-70b-chat", count=2), nodes)
    args = container(cluster)["args"]
    assert {"--nnodes=2", "--degree=2", "--node-rank=$(POD_INDEX)"} <= set(args)
    service = cluster.child("Service", "falcon")
    assert service["spec"]["selector"]["apps.kubernetes.io/pod-index"] == "0"
    assert cluster.child("StatefulSet")["spec"]["updateStrategy"] == {"type": "OnDelete"}


def test_a_group_s_nodes_are_alike() -> None:
    """Ranks share a model evenly; an odd node out is left out."""
    nodes = [
        gpu_node("odd", 2, "NVIDIA-L4", 23034),
        gpu_node("a", 1, *A100),
        gpu_node("b", 1, *A100),
    ]
    cluster = settled(workspace("llama-2-70b-chat", count=2), nodes)
    affinity = cluster.child("StatefulSet")["spec"]["template"]["spec"]["affinity"]
    assert "NVIDIA-A100-SXM4-80GB" in str(affinity)
    assert "NVIDIA-L4" not in str(affinity)


def test_replicas_of_unlike_nodes_use_what_all_have() -> None:
    """Eight GPUs on one node and four on the other: both pods get four."""
    nodes = [gpu_node("a", 8, "NVIDIA-L4", 23034), gpu_node("b", 4, "NVIDIA-L4", 23034)]
    cluster = settled(workspace("llama-2-13b-chat", count=2), nodes)
    assert cluster.child("StatefulSet")["spec"]["replicas"] == 2
    assert container(cluster)["resources"]["limits"] == {"nvidia.com/gpu": "4"}


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


def test_a_single_large_node_does_not_keep_small_ones_from_sharing_a_model() -> None:
    small = [gpu_node(name, 1, "Tesla-V100-PCIE-16GB", 16384) for name in "cd"]
    ws = workspace("llama-2-13b-chat", count=2)
    cluster = settled(ws, [gpu_node("a", 1, *A100), *small])
    assert {"--nnodes=2", "--degree=2"} <= set(container(cluster)["args"])


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


def test_a_node_whose_product_is_not_named_is_not_shut_out() -> None:
    """It was measured by its instance type."""
    bare = gpu_node("a", labels={"node.kubernetes.io/instance-type": "g5.xlarge"})
    for label in ("product", "memory"):
        del bare["metadata"]["labels"][f"nvidia.com/gpu.{label}"]
    cluster = settled(workspace(), [bare])
    assert "gpu.product" not in str(cluster.child("StatefulSet")["spec"])


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


def test_replicas_may_run_on_gpus_of_several_kinds() -> None:
    nodes = [gpu_node("a"), gpu_node("b", 1, "NVIDIA-A10G", 23028)]
    cluster = settled(workspace(count=2), nodes)
    affinity = cluster.child("StatefulSet")["spec"]["template"]["spec"]["affinity"]
    assert "['NVIDIA-A10G', 'NVIDIA-L4']" in str(affinity)
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_a_node_that_boasts_does_not_keep_anybody_busy() -> None:
    """A mistyped extended resource of a fake node must not cost minutes of layouts."""
    cluster = settled(workspace(), [gpu_node("a", 2_000_000_000)])
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_too_few_nodes() -> None:
    cluster = settled(workspace(count=2), [gpu_node("a")])
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")
    assert cluster.reason("Fits")[0] == "True"
    assert not cluster.children


def test_the_cpu_model_runs_on_ram() -> None:
    cluster = settled(workspace("pocket", **CPU), [cpu_node()])
    assert cluster.reason("WorkspaceReady")[0] == "True"
    assert "--device=cpu" in container(cluster)["args"]
    resources = container(cluster)["resources"]
    assert resources["limits"] == {"memory": resources["requests"]["memory"]}


def test_a_cpu_that_may_have_to_compute_in_float32_gets_room_for_it() -> None:
    """Where there is not enough for that, the engine is told to keep to 16 bits."""
    large = settled(workspace("llama-2-7b-chat", **CPU), [cpu_node(memory="64Gi")])
    assert not [arg for arg in container(large)["args"] if "dtype" in arg]
    small = settled(workspace("llama-2-7b-chat", **CPU), [cpu_node(memory="20Gi")])
    assert "--dtype=bfloat16" in container(small)["args"]


def test_several_small_models_share_a_node() -> None:
    cluster = settled(workspace("pocket", count=3, **CPU), [cpu_node()])
    assert cluster.child("StatefulSet")["spec"]["replicas"] == 3


def test_more_than_a_cpu_node_holds_is_too_few_nodes() -> None:
    cluster = settled(workspace("pocket", count=9, **CPU), [cpu_node(memory="2Gi")])
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")


def test_gpu_nodes_that_are_taken_do_not_send_a_model_to_ram() -> None:
    nodes = [gpu_node("a"), cpu_node(labels={"pool": "gpu"})]
    cluster = settled(workspace("pocket"), nodes, pods=[busy_pod("a")])
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")


def test_preferred_nodes_come_first() -> None:
    nodes = [gpu_node("a"), gpu_node("b")]
    cluster = Cluster(workspace(preferredNodes=["b"]), nodes)
    cluster.step()
    assert cluster.condition("ResourceReady")["message"] == "There is room on b, a."


def test_pods_are_kept_to_the_product_that_was_measured() -> None:
    """The selector matches a smaller GPU too, on which the same pod would not start."""
    nodes = [gpu_node("small", 1, "Tesla-T4", 15360), gpu_node("large")]
    cluster = settled(workspace(), nodes)
    affinity = cluster.child("StatefulSet")["spec"]["template"]["spec"]["affinity"]
    assert "NVIDIA-L4" in str(affinity["nodeAffinity"])


def test_less_context_is_told() -> None:
    cluster = settled(workspace("llama-2-7b-chat"), [gpu_node("a", 1, "Tesla-T4", 15360)])
    assert cluster.reason("Fits") == ("True", "FitsWithLess")
    assert "tokens have room" in cluster.condition("Fits")["message"]


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


def test_the_taints_of_gpu_pools_are_tolerated() -> None:
    taints = [
        {"key": "sku", "value": "gpu", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
    ]
    assert settled(workspace(), [gpu_node(taints=taints)]).reason("WorkspaceReady")[0] == "True"


def test_a_degree_that_the_nodes_cannot_share_is_refused() -> None:
    """Four ranks on three nodes; they would fit."""
    nodes = [gpu_node(name, 2, *A100) for name in "abc"]
    config = {"data": {"inference_config.yaml": "vllm:\n  tensor-parallel-size: 4\n"}}
    ws = workspace("llama-2-70b-chat", count=3, config="c")
    cluster = settled(ws, nodes, config_map=config)
    assert cluster.reason("Fits") == ("False", "DoesNotFit")
    assert "should be a multiple of 3 nodes" in cluster.condition("Fits")["message"]
    assert not cluster.children


def test_a_degree_that_they_can_share_is_kept_to() -> None:
    nodes = [gpu_node(name, 4, *A100) for name in "ab"]
    config = {"data": {"inference_config.yaml": "vllm:\n  tensor-parallel-size: 2\n"}}
    cluster = settled(workspace("llama-2-70b-chat", config="c"), nodes, config_map=config)
    assert "--degree=2" in container(cluster)["args"]
    assert container(cluster)["resources"]["limits"] == {"nvidia.com/gpu": "2"}


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


def test_pods_of_a_template_share_a_node_that_has_room() -> None:
    cluster = settled(workspace(None, count=2, template=template(2)), [gpu_node("a", 4)])
    assert cluster.child("StatefulSet")["spec"]["replicas"] == 2


def test_a_model_of_the_transformers_engine_is_never_split_over_nodes() -> None:
    """Its engine is one process on one node."""
    nodes = [gpu_node("a"), gpu_node("b")]
    cluster = settled(workspace("mixtral-8x7b-instruct", count=2), nodes)
    assert cluster.reason("Fits")[0] == "False"


def test_an_unknown_preset_names_the_nearest() -> None:
    cluster = settled(workspace("falcon-7"), [gpu_node()])
    assert cluster.reason("ResourceReady") == ("False", "UnknownPreset")
    assert "falcon-7b" in cluster.condition("ResourceReady")["message"]


def test_a_preset_by_its_hub_id_in_any_case() -> None:
    cluster = settled(workspace("TIIUAE/falcon-7b"), [gpu_node()])
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_a_preset_that_no_engine_runs() -> None:
    cluster = settled(workspace("e5-small-v2"), [gpu_node()])
    assert cluster.reason("ResourceReady") == ("False", "NoEngine")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tuning": {"preset": {"name": "x"}}}, "SpecInvalid"),
        ({"inference": {"preset": {"name": "falcon-7b"}, "adapters": [{}]}}, "NotSupported"),
        ({"resource": {"labelSelector": {}, "partition": {"mode": "mig"}}}, "NotSupported"),
        ({"resource": {"labelSelector": {}, "count": 0}}, "SpecInvalid"),
        ({"resource": None}, "SpecInvalid"),
    ],
)
def test_what_the_api_server_should_have_refused_is_refused_here_too(
    change: Object, reason: str
) -> None:
    base = workspace()
    if "tuning" in change:
        change = {**change, "inference": None}
        reason = "NotSupported"
    cluster = settled(base | change, [gpu_node()])
    assert cluster.reason("WorkspaceReady") == ("False", reason)
    assert not cluster.children


def test_a_config_map_that_is_not_there_yet() -> None:
    cluster = settled(workspace(config="later"), [gpu_node()])
    assert cluster.reason("ResourceReady") == ("False", "ConfigMissing")
    cluster.config_map = {"data": {"berth.yaml": "max-num-seqs: 8\n"}}
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_a_config_map_with_an_unknown_key_names_it() -> None:
    config = {"data": {"inference_config.yaml": "vllm:\n  swap-space: 4\n"}}
    cluster = settled(workspace(config="c"), [gpu_node()], config_map=config)
    assert cluster.reason("ResourceReady") == ("False", "ConfigInvalid")
    assert "swap-space" in cluster.condition("ResourceReady")["message"]


def test_a_context_that_the_model_is_not_made_for_is_refused() -> None:
    config = {"data": {"berth.yaml": "max-model-len: 100000\n"}}
    cluster = settled(workspace(config="c"), [gpu_node()], config_map=config)
    assert cluster.reason("Fits") == ("False", "DoesNotFit")
    assert "made for 2048 tokens" in cluster.condition("Fits")["message"]
