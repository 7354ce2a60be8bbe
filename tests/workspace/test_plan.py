"""A plan leads to one fixpoint, writes nothing there, and touches nothing that is another's."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from berth.workspace.actions import Apply, Delete, Emit, LookAgain, WriteStatus
from berth.workspace.observed import Rejected, Settings
from workspace.worlds import (
    Cluster,
    Object,
    busy_pod,
    cpu_node,
    gpu_node,
    set_ready,
    workspace,
)

A100 = ("NVIDIA-A100-SXM4-80GB", 81920)


def running(**changes: Any) -> Cluster:
    """A Workspace that serves, on one L4."""
    cluster = Cluster(workspace(**changes), [gpu_node()])
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    return cluster


def group() -> Cluster:
    """A 70B model over two nodes of one A100 each."""
    nodes = [gpu_node("a", 1, *A100), gpu_node("b", 1, *A100)]
    cluster = Cluster(workspace("llama-2-70b-chat", count=2), nodes)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    return cluster


def kinds(cluster: Cluster) -> list[str]:
    return sorted(kind for kind, _ in cluster.children)


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


def test_what_others_add_to_a_child_is_left_alone() -> None:
    cluster = running()
    service = cluster.child("Service", "falcon")
    service["metadata"]["annotations"]["cloud.example/lb"] = "fast"
    service["spec"]["ports"][0]["nodePort"] = 31000
    sidecar = {"name": "sidecar", "image": "proxy"}
    cluster.child("StatefulSet")["spec"]["template"]["spec"]["containers"].append(sidecar)
    assert not [a for a in cluster.plan() if isinstance(a, Apply)]


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


def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    cluster = running()
    cluster.child("StatefulSet")["metadata"]["deletionTimestamp"] = "2026-11-21T09:00:00Z"
    actions = cluster.plan()
    assert not [a for a in actions if isinstance(a, Apply | Delete)]
    assert any(isinstance(a, LookAgain) and a.seconds <= 5 for a in actions)
    cluster.step()
    assert cluster.reason("InferenceReady")[0] == "False"


def test_an_object_of_somebody_else_is_never_touched() -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "falcon",
            "namespace": "models",
            "uid": "u",
            "ownerReferences": [
                {"kind": "Deployment", "name": "bird", "uid": "d", "controller": True}
            ],
        },
        "spec": {},
    }
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.children["Service", "falcon"] = copy.deepcopy(theirs)
    cluster.settle()
    assert list(cluster.children.values()) == [theirs]
    assert cluster.reason("InferenceReady") == ("False", "NameTaken")
    message = cluster.condition("InferenceReady")["message"]
    assert "Service models/falcon" in message
    assert "Deployment bird" in message


def test_children_of_a_namesake_that_was_deleted_are_not_ours() -> None:
    """The owner reference's uid counts, not its name."""
    cluster = running()
    left = copy.deepcopy(cluster.children)
    again = Cluster(workspace(), [gpu_node()])
    assert again.workspace
    again.workspace["metadata"]["uid"] = "another"
    again.children = left
    again.settle()
    assert again.children == left
    assert again.reason("InferenceReady") == ("False", "NameTaken")


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


def test_a_webhook_that_changes_what_we_apply_does_not_keep_it_from_being_ready() -> None:
    cluster = running()
    spec = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    spec["containers"][0]["image"] = "mirror.example/berth:cuda"
    cluster.pods.clear()
    cluster._stateful_sets()
    status = [action for action in cluster.plan() if isinstance(action, WriteStatus)]
    assert not status, "the conditions stay as they are"


def test_what_the_api_server_turned_down_is_told() -> None:
    cluster = running()
    cluster.child("Service", "falcon")["spec"]["type"] = "NodePort"
    cluster.rejected = (Rejected(kind="Service", name="falcon", message="owned by helm: .spec"),)
    cluster.step()
    assert cluster.reason("InferenceReady") == ("False", "WriteRejected")
    assert "owned by helm" in cluster.condition("InferenceReady")["message"]
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("True", "Answering"), "it is over once it is right"


def test_events_are_told_once_for_each_change() -> None:
    cluster = running()
    told = [event.reason for event in cluster.told]
    assert len(told) == len(set(told))
    cluster.told.clear()
    for _ in range(5):
        cluster.step()
    assert not cluster.told


def test_what_was_told_is_not_told_again_when_something_else_is_mended() -> None:
    """WorkspaceReady then takes the reason that InferenceReady has had for a while."""
    cluster = running()
    cluster.child("Service", "falcon")["spec"]["type"] = "NodePort"
    cluster.rejected = (Rejected(kind="Service", name="falcon", message="owned by helm"),)
    cluster.nodes[0]["status"]["conditions"][0]["status"] = "False"
    cluster.told.clear()

    def look() -> None:
        (write,) = [a for a in cluster.plan() if isinstance(a, WriteStatus)]
        cluster.told += [a for a in cluster.plan() if isinstance(a, Emit)]
        cluster.carry_out(write)

    look()
    assert cluster.reason("WorkspaceReady") == ("False", "NodeNotReady")
    cluster.nodes[0]["status"]["conditions"][0]["status"] = "True"
    look()
    assert cluster.reason("WorkspaceReady") == ("False", "WriteRejected")
    assert [event.reason for event in cluster.told].count("WriteRejected") == 1


def test_events_follow_the_status_that_they_tell_of() -> None:
    actions = Cluster(workspace(), [gpu_node()]).plan()
    places = [i for i, a in enumerate(actions) if isinstance(a, WriteStatus)]
    events = [i for i, a in enumerate(actions) if isinstance(a, Emit)]
    assert len(places) == 1
    assert events
    assert min(events) > places[0]


def test_the_load_balancer_s_address_is_the_endpoint() -> None:
    cluster = Cluster(workspace(annotations={"kaito.sh/enablelb": "True"}), [gpu_node()])
    cluster.settle()
    service = cluster.child("Service", "falcon")
    assert service["spec"]["type"] == "LoadBalancer"
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}
    cluster.settle()
    assert cluster.workspace
    assert cluster.workspace["status"]["endpoint"] == "http://192.0.2.7"
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "2001:db8::7"}]}}
    cluster.settle()
    assert cluster.workspace["status"]["endpoint"] == "http://[2001:db8::7]"


def test_times_move_only_with_the_status_of_their_condition() -> None:
    cluster = running()
    since = cluster.condition("Fits")["lastTransitionTime"]
    ready = cluster.condition("InferenceReady")["lastTransitionTime"]
    set_ready(cluster.pods["falcon-0"], ready=False, now=cluster.now)
    cluster.settle()
    first = cluster.condition("InferenceReady")["lastTransitionTime"]
    assert cluster.condition("Fits")["lastTransitionTime"] == since
    assert first > ready
    cluster.pods["falcon-0"]["status"]["containerStatuses"][0] |= {"restartCount": 2}
    cluster.settle()
    assert cluster.condition("InferenceReady")["reason"] == "ContainerCrashLoopBackOff"
    assert cluster.condition("InferenceReady")["lastTransitionTime"] == first


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
