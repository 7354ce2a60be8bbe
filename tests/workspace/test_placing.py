"""Which shape a Workspace gets on which nodes."""

from __future__ import annotations

import pytest

from workspace.settled import A100, CPU, container, settled
from workspace.worlds import Cluster, busy_pod, cpu_node, gpu_node, workspace


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


def test_a_single_large_node_does_not_keep_small_ones_from_sharing_a_model() -> None:
    small = [gpu_node(name, 1, "Tesla-V100-PCIE-16GB", 16384) for name in "cd"]
    ws = workspace("llama-2-13b-chat", count=2)
    cluster = settled(ws, [gpu_node("a", 1, *A100), *small])
    assert {"--nnodes=2", "--degree=2"} <= set(container(cluster)["args"])


def test_a_node_whose_product_is_not_named_is_not_shut_out() -> None:
    """It was measured by its instance type."""
    bare = gpu_node("a", labels={"node.kubernetes.io/instance-type": "g5.xlarge"})
    for label in ("product", "memory"):
        del bare["metadata"]["labels"][f"nvidia.com/gpu.{label}"]
    cluster = settled(workspace(), [bare])
    assert "gpu.product" not in str(cluster.child("StatefulSet")["spec"])


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


def test_a_count_is_a_number_of_nodes() -> None:
    ws = workspace("pocket", count=3, **CPU)
    cluster = settled(ws, [cpu_node()])
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")
    cluster = settled(ws, [cpu_node("a"), cpu_node("b"), cpu_node("c")])
    assert cluster.child("StatefulSet")["spec"]["replicas"] == 3


def test_a_model_for_cpus_takes_no_gpu() -> None:
    """The README's first Workspace, on a cluster that has both kinds of nodes."""
    nodes = [gpu_node("a", labels={"pool": "x"}), cpu_node("b", labels={"pool": "x"})]
    ws = workspace("pocket", labelSelector={"matchLabels": {"pool": "x"}})
    cluster = settled(ws, nodes)
    spec = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    assert "--device=cpu" in spec["containers"][0]["args"]
    assert "nvidia.com/gpu" not in str(spec["containers"][0]["resources"])
    assert cluster.condition("ResourceReady")["status"] == "True"
    preferred = spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    without = {"key": "nvidia.com/gpu.present", "operator": "DoesNotExist"}
    assert [one["preference"]["matchExpressions"] for one in preferred] == [[without]]


def test_a_model_for_cpus_runs_beside_the_gpus_of_the_only_node() -> None:
    ws = workspace("pocket", labelSelector={"matchLabels": {}})
    cluster = settled(ws, [gpu_node("a")], pods=[busy_pod("a")])
    args = cluster.child("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--device=cpu" in args


def test_a_gpu_that_is_asked_for_by_instance_type_is_taken() -> None:
    labels = {"node.kubernetes.io/instance-type": "g6.xlarge"}
    ws = workspace("pocket", instanceType="g6.xlarge", labelSelector={"matchLabels": {}})
    cluster = settled(ws, [gpu_node("a", labels=labels)])
    args = cluster.child("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--device=cuda" in args


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_cpus_that_others_requested_are_not_free(kind: str) -> None:
    """A pod that asks for half a CPU has no room where 0.2 are left, whatever memory there is."""
    busy = busy_pod("c" if kind == "cpu" else "a")
    cpus = "3800m" if kind == "cpu" else "15800m"
    busy["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpus}}
    cluster = (
        settled(workspace("pocket", **CPU), [cpu_node()], pods=[busy])
        if kind == "cpu"
        else settled(workspace(), [gpu_node("a")], pods=[busy])
    )
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")
    assert "CPUs" in cluster.condition("ResourceReady")["message"]


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
    assert " fits with " in cluster.condition("Fits")["message"]


def test_the_taints_of_gpu_pools_are_tolerated() -> None:
    taints = [
        {"key": "sku", "value": "gpu", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
    ]
    assert settled(workspace(), [gpu_node(taints=taints)]).reason("WorkspaceReady")[0] == "True"


def test_a_degree_that_they_can_share_is_kept_to() -> None:
    nodes = [gpu_node(name, 4, *A100) for name in "ab"]
    config = {"data": {"inference_config.yaml": "vllm:\n  tensor-parallel-size: 2\n"}}
    cluster = settled(workspace("llama-2-70b-chat", config="c"), nodes, config_map=config)
    assert "--degree=2" in container(cluster)["args"]
    assert container(cluster)["resources"]["limits"] == {"nvidia.com/gpu": "2"}


def test_a_model_of_the_transformers_engine_is_never_split_over_nodes() -> None:
    """Its engine is one process on one node."""
    nodes = [gpu_node("a"), gpu_node("b")]
    cluster = settled(workspace("mixtral-8x7b-instruct", count=2), nodes)
    assert cluster.reason("Fits")[0] == "False"
