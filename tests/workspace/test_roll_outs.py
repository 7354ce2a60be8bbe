"""A change rolls out, as a whole where it must be; what has not changed goes on serving."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from berth.workspace.actions import Delete, LookAgain, WriteStatus
from workspace.settled import A100, group, kinds, running
from workspace.worlds import Cluster, Object, busy_pod, cpu_node, gpu_node, workspace


def test_a_new_image_rolls_out() -> None:
    cluster = running()
    before = cluster.pods["falcon-0"]["metadata"]["uid"]
    inference = {"preset": {"name": "falcon-7b", "presetOptions": {"image": "own:2"}}}
    cluster.edit(inference=inference)
    cluster.settle()
    container = cluster.child("StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "own:2"
    assert cluster.pods["falcon-0"]["metadata"]["uid"] != before
    assert cluster.condition("InferenceReady")["observedGeneration"] == 2
    assert cluster.reason("InferenceReady") == ("True", "Answering")


def test_a_new_generation_is_not_ready_by_the_old_one_s_pods() -> None:
    """They are ready, the StatefulSet has settled: only it is not what is asked for now."""
    cluster = running()
    cluster.edit(inference={"preset": {"name": "falcon-7b", "presetOptions": {"image": "own:2"}}})
    (status,) = [action.status for action in cluster.plan() if isinstance(action, WriteStatus)]
    ready = {one["type"]: one for one in status["conditions"]}
    assert ready["InferenceReady"]["observedGeneration"] == 2
    assert (ready["InferenceReady"]["status"], ready["InferenceReady"]["reason"]) == (
        "False",
        "RollingOut",
    )
    assert ready["WorkspaceReady"]["status"] == "False"


def test_a_changed_config_map_rolls_out() -> None:
    cluster = Cluster(
        workspace(config="options"),
        [gpu_node()],
        config_map={"data": {"inference_config.yaml": "vllm:\n  max-model-len: 1024\n"}},
    )
    cluster.settle()

    def args() -> list[str]:
        pod = cluster.child("StatefulSet")["spec"]["template"]["spec"]
        found: list[str] = pod["containers"][0]["args"]
        return found

    assert "--max-model-len=1024" in args()
    cluster.config_map = {"data": {"inference_config.yaml": "vllm:\n  max-model-len: 512\n"}}
    cluster.settle()
    assert "--max-model-len=512" in args()
    assert [a for a in cluster.plan() if isinstance(a, LookAgain)], "it is read, not watched"


def test_a_changed_template_rolls_out() -> None:
    template: Object = {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    cluster = Cluster(workspace(None, template=template), [cpu_node(labels={"pool": "gpu"})])
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.reason("Fits") == ("Unknown", "NotMeasured")
    template = {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}
    cluster.edit(inference={"template": template})
    cluster.settle()
    spec = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "web:2"
    assert "NetworkPolicy" not in kinds(cluster), "what its pod talks to, only its author knows"


def test_more_replicas_scale_without_a_roll_out() -> None:
    cluster = running()
    uid = cluster.pods["falcon-0"]["metadata"]["uid"]
    cluster.nodes.append(gpu_node("b"))
    resource = {"count": 2, "labelSelector": {"matchLabels": {"pool": "gpu"}}}
    cluster.edit(resource=resource)
    cluster.settle()
    assert cluster.pods["falcon-0"]["metadata"]["uid"] == uid
    assert cluster.reason("WorkspaceReady")[0] == "True"
    assert cluster.workspace
    assert cluster.workspace["status"]["workerNodes"] == ["a", "b"]


def test_a_group_is_made_anew_as_a_whole() -> None:
    """Pods of two versions cannot meet: a rolling update would wait for ever."""
    cluster = group()
    old = {pod["metadata"]["uid"] for pod in cluster.pods.values()}
    preset = {"name": "llama-2-70b-chat", "presetOptions": {"image": "own:2"}}
    cluster.edit(inference={"preset": preset})
    cluster.settle()
    assert [a.kind for a in cluster.log if isinstance(a, Delete)] == ["StatefulSet"]
    assert not old & {pod["metadata"]["uid"] for pod in cluster.pods.values()}
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")


def test_a_group_is_not_restarted_for_its_labels() -> None:
    """What a new version of Berth writes beside the spec is no reason to stop a model."""
    cluster = group()
    live = cluster.child("StatefulSet")
    live["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "an older berth"
    spec, _, _ = live["metadata"]["annotations"]["berth/applied"].partition(".")
    live["metadata"]["annotations"]["berth/applied"] = f"{spec}.older"
    cluster.settle()
    assert not [a for a in cluster.log if isinstance(a, Delete)]
    labels = cluster.child("StatefulSet")["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "berth"


def test_a_group_goes_on_while_there_are_too_few_nodes_for_a_larger_one() -> None:
    cluster = group()
    cluster.edit(resource={"count": 4, "labelSelector": {"matchLabels": {"pool": "gpu"}}})
    cluster.settle()
    assert not [a for a in cluster.log if isinstance(a, Delete)]
    assert len(cluster.pods) == 2
    assert cluster.reason("InferenceReady") == ("False", "EarlierGeneration")
    assert cluster.reason("ResourceReady") == ("False", "TooFewNodes")


def test_a_group_of_more_nodes_is_measured_anew() -> None:
    cluster = group()
    cluster.nodes += [gpu_node("c", 1, *A100), gpu_node("d", 1, *A100)]
    cluster.edit(resource={"count": 4, "labelSelector": {"matchLabels": {"pool": "gpu"}}})
    cluster.settle()
    pod = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    assert {"--nnodes=4", "--degree=4"} <= set(pod["containers"][0]["args"])
    assert cluster.reason("WorkspaceReady")[0] == "True"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("serviceName", "other"),
        ("podManagementPolicy", "OrderedReady"),
        ("selector", {"matchLabels": {"app": "old"}}),
        ("volumeClaimTemplates", [{"metadata": {"name": "old"}, "spec": {}}]),
    ],
)
def test_a_fixed_field_that_differs_is_not_applied_in_vain(field: str, value: Any) -> None:
    """The API server would refuse it for ever; the StatefulSet is made anew, once."""
    cluster = running()
    cluster.child("StatefulSet")["spec"][field] = value
    cluster.child("StatefulSet")["metadata"]["annotations"]["berth/applied"] = "by another version"
    cluster.settle()
    assert len([a for a in cluster.log if isinstance(a, Delete)]) == 1
    assert cluster.reason("WorkspaceReady")[0] == "True"


def test_a_generation_that_does_not_fit_leaves_the_one_before_it_serving() -> None:
    cluster = running()
    before = copy.deepcopy(cluster.children)
    cluster.edit(inference={"preset": {"name": "llama-2-70b-chat"}})
    cluster.settle()
    assert cluster.children.keys() == before.keys()
    assert cluster.child("StatefulSet")["spec"] == before["StatefulSet", "falcon"]["spec"]
    assert cluster.reason("Fits") == ("False", "DoesNotFit")
    assert cluster.reason("InferenceReady") == ("False", "EarlierGeneration")
    assert cluster.reason("WorkspaceReady") == ("False", "DoesNotFit")


def test_a_model_that_runs_is_not_touched_when_nodes_come_and_go() -> None:
    """The shape that was chosen stays, whatever fit would choose now."""
    cluster = running()
    cluster.nodes.append(gpu_node("b", 8, "NVIDIA-H100-80GB-HBM3", 81559))
    assert cluster.plan() == ()
    cluster.others.append(busy_pod("b", 8))
    assert cluster.plan() == ()
