"""What KAITO had to mend, by its issue's number, and the seed's own mistakes: never here."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from berth.workspace.actions import Apply, SetFinalizer
from berth.workspace.observed import Settings
from workspace.worlds import (
    Cluster,
    Object,
    busy_pod,
    cpu_node,
    crash,
    gpu_node,
    workspace,
)

A100 = ("NVIDIA-A100-SXM4-80GB", 81920)
V100 = ("Tesla-V100-PCIE-16GB", 16384)
CLASS = {"group": "kaito.sh", "kind": "KaitoNodeClass", "name": "default"}


def container(cluster: Cluster) -> Object:
    pod = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    found: Object = pod["containers"][0]
    return found


def test_344_never_ready_and_nobody_knows_why() -> None:
    """Each of the three conditions says the same true thing, with the numbers."""
    cluster = Cluster(workspace(), [gpu_node()], pods=[busy_pod("a")])
    cluster.settle()
    assert cluster.reason("ResourceReady") == ("False", "NodesTaken")
    assert cluster.reason("WorkspaceReady") == ("False", "NodesTaken")
    assert "other pods" in cluster.condition("WorkspaceReady")["message"]


def test_931_inference_ready_while_the_pod_is_in_crash_loop() -> None:
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.settle()
    crash(cluster.pods["falcon-0"])  # the pod's Ready condition still is True
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "ContainerCrashLoopBackOff")


def test_1493_ready_for_hours_through_twelve_restarts_out_of_memory() -> None:
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.settle()
    crash(cluster.pods["falcon-0"], reason="OOMKilled", code=137)
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "ContainerOOMKilled")
    status = cluster.pods["falcon-0"]["status"]["containerStatuses"][0]
    status["state"] = {"running": {}}  # between two restarts
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "ContainerOOMKilled")


def test_1479_instance_types_in_any_letter_case() -> None:
    labels = {"node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"}
    nodes = [gpu_node("a", 1, *A100, labels=labels)]
    cluster = Cluster(workspace(instanceType="standard_nc24ads_a100_V4"), nodes)
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"
    affinity = cluster.child("StatefulSet")["spec"]["template"]["spec"]["affinity"]
    assert "Standard_NC24ads_A100_v4" in str(affinity), "as the nodes write it"


def test_1547_resources_are_ready_on_own_nodes() -> None:
    """Without an instance type, and without any provisioner."""
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.settle()
    assert cluster.reason("ResourceReady") == ("True", "NodesReady")


def test_1719_deletable_after_the_provisioner_is_gone() -> None:
    """A finalizer that an earlier version set, for claims whose kind the cluster has no more."""
    cluster = Cluster(workspace(), [gpu_node()])
    assert cluster.workspace
    cluster.workspace["metadata"] |= {
        "finalizers": ["workspace.finalizer.kaito.sh"],
        "deletionTimestamp": "2026-11-21T09:00:00Z",
    }
    cluster.settle()
    assert cluster.workspace is None


def test_1725_and_1899_without_karpenter_s_kinds() -> None:
    """Served on own nodes although the chart provisions; then deleted."""
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"}
    cluster = Cluster(
        workspace(instanceType="g5.xlarge"),
        [gpu_node(labels=labels)],
        settings=Settings(provisioning=True, node_class=CLASS),
        claims=None,
    )
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.workspace
    cluster.workspace["metadata"]["deletionTimestamp"] = "2026-11-21T09:00:00Z"
    assert not [a for a in cluster.plan() if not isinstance(a, SetFinalizer)]


@pytest.mark.parametrize("resources", [{}, {"limits": {}}, {"requests": None}, {"limits": None}])
def test_1824_a_pod_without_gpu_parameters(resources: Any) -> None:
    template = {"spec": {"containers": [{"name": "x", "image": "x", "resources": resources}]}}
    cluster = Cluster(workspace(None, template=template), [cpu_node(labels={"pool": "gpu"})])
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"


@pytest.mark.parametrize(
    "inference", [None, {}, {"preset": None}, {"template": None}, {"preset": {}}, {"template": {}}]
)
def test_1936_parts_that_are_null(inference: Any) -> None:
    cluster = Cluster(workspace() | {"inference": inference}, [gpu_node()])
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("False", "SpecInvalid")
    assert not cluster.children


def test_2121_more_than_three_nodes() -> None:
    nodes = [gpu_node(name, 1, "NVIDIA-A100-SXM4-40GB", 40960) for name in "abcd"]
    cluster = Cluster(workspace("llama-2-70b-chat", count=4), nodes)
    cluster.settle()
    assert {"--nnodes=4", "--degree=4"} <= set(container(cluster)["args"])
    assert container(cluster)["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_2177_no_duplicates_on_an_old_cache() -> None:
    """A second plan that has not seen what the first one made names the very same objects."""
    cluster = Cluster(workspace(), [gpu_node()])

    def applied() -> list[Object]:
        return [action.object for action in cluster.plan() if isinstance(action, Apply)]

    assert applied() == applied()
    names = [(one["kind"], one["metadata"]["name"]) for one in applied()]
    assert len(names) == len(set(names)) == 5


def test_2201_nodes_of_another_workspace() -> None:
    """A node that was made for one is not taken by the next, though its labels match."""
    other = {"kaito.sh/workspace": "other", "kaito.sh/workspacenamespace": "models"}
    cluster = Cluster(workspace(), [gpu_node(labels=other)])
    cluster.settle()
    assert cluster.reason("ResourceReady") == ("False", "NoNodes")
    namesake = {"kaito.sh/workspace": "falcon", "kaito.sh/workspacenamespace": "elsewhere"}
    cluster = Cluster(workspace(), [gpu_node(labels=namesake)])
    cluster.settle()
    assert cluster.reason("ResourceReady") == ("False", "NoNodes")


def test_2203_the_cloud_s_error_is_in_the_condition() -> None:
    cluster = Cluster(
        workspace(instanceType="g5.xlarge"),
        [cpu_node()],
        settings=Settings(provisioning=True, node_class=CLASS),
        claims=[],
    )
    cluster.settle()
    assert cluster.claims
    (claim,) = cluster.claims.values()
    said = "vCPU limit of 0 exceeded"
    condition = {"type": "Launched", "status": "False", "message": said}
    claim["status"] = {"conditions": [condition]}
    cluster.settle()
    assert said in cluster.condition("ResourceReady")["message"]


def test_2259_names_longer_than_a_label() -> None:
    """Stored before there was a rule against it."""
    name = "a-model-with-a-name-that-somebody-generated-from-a-branch-and-a-date-2026"
    cluster = Cluster(workspace(name=name), [gpu_node()])
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"
    assert all(len(child) <= 63 for _, child in cluster.children)
    labels = cluster.pods[next(iter(cluster.pods))]["metadata"]["labels"]
    assert all(len(value) <= 63 for value in labels.values())


def test_the_seed_asked_every_pod_for_all_gpus_of_a_group() -> None:
    """A.4: 70b on two nodes of four GPUs asked eight of each, which no node has."""
    nodes = [gpu_node(name, 4, "NVIDIA-L4", 23034) for name in "ab"]
    cluster = Cluster(workspace("llama-2-70b-chat", count=2), nodes)
    cluster.settle()
    assert container(cluster)["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert {"--degree=8", "--nnodes=2"} <= set(container(cluster)["args"])


def test_the_seed_asked_for_two_gpus_on_nodes_of_one() -> None:
    """A.4: 13b over two nodes likewise."""
    nodes = [gpu_node(name, 1, *V100) for name in "ab"]
    cluster = Cluster(workspace("llama-2-13b-chat", count=2), nodes)
    cluster.settle()
    assert container(cluster)["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_the_seed_counted_the_memory_of_an_instance_type_twice() -> None:
    """A.4: two 16 GB GPUs are 32 GB and not 64: too little for falcon-40b."""
    labels = {"node.kubernetes.io/instance-type": "Standard_NC12s_v3"}
    nodes = [gpu_node("a", 2, *V100, labels=labels)]
    cluster = Cluster(workspace("falcon-40b", instanceType="Standard_NC12s_v3"), nodes)
    cluster.settle()
    assert cluster.reason("Fits") == ("False", "DoesNotFit")


def test_the_seed_wrote_400_bytes_of_disk() -> None:
    """A.4: falcon-40b's claim asked for "400", without a unit."""
    cluster = Cluster(
        workspace("falcon-40b", instanceType="p4d.24xlarge"),
        [cpu_node()],
        settings=Settings(provisioning=True, node_class=CLASS),
        claims=[],
    )
    cluster.settle()
    assert cluster.claims
    (claim,) = cluster.claims.values()
    assert claim["spec"]["resources"]["requests"]["storage"].endswith(("Mi", "Gi"))


def test_the_seed_met_in_the_namespace_default() -> None:
    """A.5: wherever the Workspace was."""
    nodes = [gpu_node(name, 1, *A100) for name in "ab"]
    cluster = Cluster(workspace("llama-2-70b-chat", count=2), nodes)
    cluster.settle()
    assert "--rdzv-endpoint=falcon-0.falcon-headless.models.svc:29500" in container(cluster)["args"]


def test_the_seed_knew_only_the_chat_presets_of_llama() -> None:
    cluster = Cluster(workspace("llama-2-7b"), [gpu_node()])
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_the_seed_panicked_on_a_template_without_a_preset() -> None:
    template = {"spec": {"containers": [{"name": "x", "image": "x"}]}}
    cluster = Cluster(workspace(None, template=template), [gpu_node()])
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_the_seed_s_workspaces_inherited_each_other_s_parameters() -> None:
    """D.10: maps shared by all were written to."""
    alone = Cluster(workspace("llama-2-7b-chat"), [gpu_node()]).plan()
    nodes = [gpu_node(name, 1, *A100) for name in "ab"]
    Cluster(workspace("llama-2-70b-chat", count=2), nodes).settle()
    assert Cluster(workspace("llama-2-7b-chat"), [gpu_node()]).plan() == alone


def test_the_seed_never_rolled_a_change_out() -> None:
    cluster = Cluster(workspace(options={"image": "own:1"}), [gpu_node()])
    cluster.settle()
    before = copy.deepcopy(cluster.pods)
    preset = {"name": "falcon-7b", "presetOptions": {"image": "own:2"}}
    cluster.edit(inference={"preset": preset})
    cluster.settle()
    assert cluster.pods["falcon-0"]["metadata"]["uid"] != before["falcon-0"]["metadata"]["uid"]


def test_the_seed_s_cpu_instance_types_were_let_through_and_stayed_pending() -> None:
    """#242: a model that needs a GPU on a size without one is measured on its RAM, and refused."""
    labels = {"node.kubernetes.io/instance-type": "Standard_D4s_v5", "pool": "gpu"}
    nodes = [cpu_node(labels=labels, memory="15Gi")]
    cluster = Cluster(workspace("falcon-40b", instanceType="Standard_D4s_v5"), nodes)
    cluster.settle()
    assert cluster.reason("ResourceReady")[0] == "False"
    assert not cluster.children
