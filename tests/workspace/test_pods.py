"""InferenceReady and ResourceReady say what the pods say, in their words; never a stale True."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from berth.workspace.actions import LookAgain
from workspace.worlds import Cluster, Object, crash, gpu_node, set_ready, workspace


@pytest.fixture
def cluster() -> Cluster:
    """A Workspace that served until now."""
    found = Cluster(workspace(), [gpu_node()])
    found.settle()
    found.told.clear()
    return found


def pod_of(cluster: Cluster) -> Object:
    return cluster.pods["falcon-0"]


def waiting(pod: Object, reason: str, message: str = "") -> None:
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    pod["status"]["containerStatuses"] = [
        {
            "name": "model",
            "restartCount": 0,
            "ready": False,
            "state": {"waiting": {"reason": reason, "message": message}},
        }
    ]


def event(obj: Object, reason: str, message: str, kind: str = "Pod") -> Object:
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-11-21T09:00:00Z",
        "involvedObject": {
            "kind": kind,
            "name": obj["metadata"]["name"],
            "uid": obj["metadata"]["uid"],
        },
    }


def check(cluster: Cluster, reason: str, words: str, kind: str = "InferenceReady") -> None:
    cluster.settle()
    assert cluster.reason(kind) == ("False", reason)
    assert words in cluster.condition(kind)["message"]
    assert cluster.reason("WorkspaceReady")[0] == "False"
    assert [one.reason for one in cluster.told].count(reason) == 1, "one event, and no more"
    assert next(one for one in cluster.told if one.reason == reason).type == "Warning"


def test_crash_loop(cluster: Cluster) -> None:
    crash(pod_of(cluster), code=3, words="ValueError: no such layer\n")
    check(cluster, "ContainerCrashLoopBackOff", "exited with status 3: ValueError: no such layer")


def test_a_crash_before_the_first_restart(cluster: Cluster) -> None:
    pod = pod_of(cluster)
    pod["status"]["containerStatuses"][0] |= {
        "ready": False,
        "state": {"terminated": {"exitCode": 139, "signal": 11}},
    }
    check(cluster, "ContainerRestarting", "ended by signal 11")


def test_one_end_is_no_crash_loop_and_its_words_are_whole_lines(cluster: Cluster) -> None:
    access = '{"level":"info","logger":"berth.access","message":"request","status":200}'
    log = f'"route":"/chat"}}\n{access}\n' + '{"level":"error","message":"no memory"}\n' + access
    pod = pod_of(cluster)
    pod["status"]["containerStatuses"][0] |= {
        "ready": False,
        "restartCount": 1,
        "state": {"running": {"startedAt": "2026-11-21T09:00:05Z"}},
        "lastState": {"terminated": {"exitCode": 137, "signal": 9, "message": log}},
    }
    pod["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-21T09:00:00Z"}
    ]
    check(cluster, "ContainerRestarting", "Pod falcon-0: ended by signal 9: no memory")
    pod["status"]["containerStatuses"][0]["restartCount"] = 4
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "ContainerCrashLoopBackOff")
    assert "has ended 4 times; it last " in cluster.condition("InferenceReady")["message"]


def test_an_old_crash_is_not_why_a_pod_does_not_answer_now(cluster: Cluster) -> None:
    """It was ready since: a node's return or a stuck engine has another reason."""
    pod = pod_of(cluster)
    pod["status"]["containerStatuses"][0] |= {
        "ready": False,
        "started": True,
        "restartCount": 7,
        "state": {"running": {"startedAt": "2026-11-21T08:00:00Z"}},
        "lastState": {"terminated": {"exitCode": 1, "message": "of an hour ago"}},
    }
    pod["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-21T09:00:00Z"}
    ]
    check(cluster, "NotAnswering", "its readiness probe fails")
    assert "of an hour ago" not in cluster.condition("InferenceReady")["message"]


def test_between_the_startup_probe_and_the_first_readiness_probe_nothing_is_wrong() -> None:
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.pods_become_ready = False
    cluster.settle()
    pod = cluster.pods["falcon-0"]
    pod["status"] = {
        "phase": "Running",
        "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-21T09:00:00Z"}
        ],
        "containerStatuses": [
            {
                "name": "model",
                "ready": False,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": "2026-11-21T09:00:01Z"}},
            }
        ],
    }
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "Starting")
    assert all(event.type == "Normal" for event in cluster.told)


def test_a_crash_loop_does_not_flap_between_two_crashes(cluster: Cluster) -> None:
    """While it runs for some seconds, it still is one that crashes: no event for each turn."""
    crash(pod_of(cluster))
    cluster.settle()
    cluster.told.clear()
    status = pod_of(cluster)["status"]["containerStatuses"][0]
    for _ in range(3):
        status["state"] = {"running": {}}
        cluster.settle()
        assert cluster.reason("InferenceReady") == ("False", "ContainerCrashLoopBackOff")
        status["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
        cluster.settle()
    assert not cluster.told


def test_out_of_memory(cluster: Cluster) -> None:
    crash(pod_of(cluster), reason="OOMKilled", code=137)
    check(cluster, "ContainerOOMKilled", "took too much memory")


@pytest.mark.parametrize("state", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_image_pull(cluster: Cluster, state: str) -> None:
    waiting(pod_of(cluster), state, "unauthorized: login first")
    check(cluster, "ImagePullError", "unauthorized: login first")


def test_a_secret_that_is_missing(cluster: Cluster) -> None:
    waiting(pod_of(cluster), "CreateContainerConfigError", 'secret "hub" not found')
    check(cluster, "ContainerConfigError", 'secret "hub" not found')


def test_unschedulable(cluster: Cluster) -> None:
    pod = pod_of(cluster)
    del pod["spec"]["nodeName"]
    said = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    pod["status"] = {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": said,
            }
        ],
    }
    check(cluster, "Unschedulable", said, "ResourceReady")
    assert cluster.reason("InferenceReady") == ("False", "Unschedulable")


def test_quota(cluster: Cluster) -> None:
    cluster.pods_become_ready = False
    live = cluster.child("StatefulSet")
    said = 'pods "falcon-0" is forbidden: exceeded quota: gpus, requested: 1, limited: 0'
    cluster.events = [event(live, "FailedCreate", said, "StatefulSet")]
    cluster.pods = {}
    cluster._stateful_sets = lambda: None  # type: ignore[method-assign]  # the quota says no
    check(cluster, "QuotaExceeded", "exceeded quota: gpus", "ResourceReady")


def test_an_admission_policy(cluster: Cluster) -> None:
    live = cluster.child("StatefulSet")
    cluster.events = [event(live, "FailedCreate", "denied by policy x", "StatefulSet")]
    cluster.pods = {}
    cluster._stateful_sets = lambda: None  # type: ignore[method-assign]
    check(cluster, "PodsRefused", "denied by policy x", "ResourceReady")


def test_a_quota_that_was_raised_is_over(cluster: Cluster) -> None:
    """Events stay for an hour; the pod that it was about is there by now."""
    live = cluster.child("StatefulSet")
    said = "create Pod falcon-0 in StatefulSet falcon failed: exceeded quota: gpus"
    cluster.events = [event(live, "FailedCreate", said, "StatefulSet")]
    assert cluster.plan() == ()


def test_an_old_refusal_is_not_told_of_pods_that_are_all_there(cluster: Cluster) -> None:
    live = cluster.child("StatefulSet")
    cluster.events = [event(live, "FailedCreate", "denied by policy x", "StatefulSet")]
    assert cluster.plan() == ()


def test_an_old_refusal_of_one_pod_is_not_told_of_another() -> None:
    cluster = Cluster(workspace(count=2), [gpu_node("a"), gpu_node("b")])
    cluster.settle()
    said = "create Pod falcon-0 in StatefulSet falcon failed: exceeded quota: gpus"
    cluster.events = [event(cluster.child("StatefulSet"), "FailedCreate", said, "StatefulSet")]
    del cluster.pods["falcon-1"]
    cluster._stateful_sets = lambda: None  # type: ignore[method-assign]  # not made again yet
    cluster.settle()
    assert cluster.reason("ResourceReady") == ("True", "NodesReady"), "the other one answers"
    assert cluster.reason("UpToDate") == ("False", "Scaling")


def test_a_volume_that_cannot_be_mounted(cluster: Cluster) -> None:
    pod = pod_of(cluster)
    waiting(pod, "ContainerCreating")
    cluster.events = [event(pod, "FailedMount", "timed out waiting for the condition")]
    check(cluster, "VolumeError", "timed out waiting")


def test_a_volume_claim_that_cannot_be_provisioned(cluster: Cluster) -> None:
    """The scheduler only says that the claim is unbound; why, the claim's own event says."""
    pod = pod_of(cluster)
    del pod["spec"]["nodeName"]
    said = "pod has unbound immediate PersistentVolumeClaims"
    pod["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": said}],
    }
    claim: Object = {"metadata": {"name": "cache-falcon-0", "uid": "pvc"}}
    words = 'storageclass "fast" not found'
    cluster.events = [event(claim, "ProvisioningFailed", words, "PersistentVolumeClaim")]
    check(cluster, "VolumeError", words)


def test_a_volume_that_was_mounted_in_the_end(cluster: Cluster) -> None:
    pod = pod_of(cluster)
    set_ready(pod, ready=False, now=cluster.now)
    cluster.events = [event(pod, "FailedMount", "timed out waiting for the condition")]
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "Starting")


def test_a_runtime_that_makes_no_sandbox(cluster: Cluster) -> None:
    pod = pod_of(cluster)
    waiting(pod, "ContainerCreating")
    words = "nvidia-container-cli: initialization error"
    cluster.events = [event(pod, "FailedCreatePodSandBox", words)]
    check(cluster, "ContainerConfigError", words)


def test_an_evicted_pod(cluster: Cluster) -> None:
    said = "The node was low on resource: ephemeral-storage."
    pod_of(cluster)["status"] = {"phase": "Failed", "reason": "Evicted", "message": said}
    check(cluster, "PodEvicted", said)


@pytest.mark.parametrize("how", ["not ready", "gone"])
def test_a_node_that_is_lost(cluster: Cluster, how: str) -> None:
    """The pod's own Ready condition is the kubelet's last word, and may be old."""
    if how == "gone":
        cluster.nodes = [gpu_node("b")]
    else:
        cluster.nodes = [gpu_node("a", ready=False)]
    check(cluster, "NodeNotReady", "a", "ResourceReady")
    assert cluster.reason("InferenceReady") == ("False", "NodeLost")


def test_a_model_that_does_not_answer_any_more(cluster: Cluster) -> None:
    pod = pod_of(cluster)
    pod["status"]["conditions"] = [
        {
            "type": "Ready",
            "status": "False",
            "message": "containers with unready status: [model]",
            "lastTransitionTime": "2026-11-21T09:30:00Z",
        }
    ]
    pod["status"]["containerStatuses"][0] |= {
        "ready": False,
        "started": True,
        "state": {"running": {"startedAt": "2026-11-21T09:00:00Z"}},
    }
    check(cluster, "NotAnswering", "containers with unready status")


def test_a_start_that_takes_its_time_and_then_too_much() -> None:
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.pods_become_ready = False
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "Starting")
    assert all(event.type == "Normal" for event in cluster.told), "nothing to be warned of"
    assert any(isinstance(action, LookAgain) for action in cluster.plan())
    cluster.now += timedelta(hours=2)
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "StartupTimedOut")


def test_someone_looks_when_the_time_for_the_start_is_over() -> None:
    cluster = Cluster(workspace(), [gpu_node()])
    cluster.pods_become_ready = False
    cluster.settle()
    cluster.now += timedelta(minutes=29, seconds=50)
    looks = [action.seconds for action in cluster.plan() if isinstance(action, LookAgain)]
    assert len(looks) == 1
    assert 1 <= looks[0] <= 30


@pytest.mark.parametrize(
    "stale",
    [
        {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "ready": True, "restartCount": 1},
        {"state": {"terminated": {"exitCode": 1}}, "ready": True, "restartCount": 0},
        {"state": {"running": {}}, "ready": False, "restartCount": 0},
    ],
)
def test_a_ready_condition_that_the_containers_contradict_is_not_believed(
    cluster: Cluster, stale: dict[str, Any]
) -> None:
    pod_of(cluster)["status"]["containerStatuses"] = [{"name": "model", **stale}]
    cluster.settle()
    assert cluster.reason("InferenceReady")[0] == "False"


def test_a_pod_that_is_ending_does_not_answer(cluster: Cluster) -> None:
    pod_of(cluster)["metadata"]["deletionTimestamp"] = "2026-11-21T09:00:00Z"
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "RollingOut")


def test_pods_of_the_version_before_are_not_this_generation_s(cluster: Cluster) -> None:
    cluster.child("StatefulSet")
    cluster._stateful_sets = lambda: None  # type: ignore[method-assign]  # nothing rolls yet
    cluster.edit(inference={"preset": {"name": "falcon-7b", "presetOptions": {"image": "b:2"}}})
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "RollingOut")
    live = cluster.child("StatefulSet")
    live["status"] = {
        "observedGeneration": live["metadata"]["generation"],
        "updateRevision": "falcon-new",
    }
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "RollingOut")
    assert "earlier version" in cluster.condition("InferenceReady")["message"]


def test_one_of_several_replicas_is_enough_to_be_not_ready() -> None:
    cluster = Cluster(workspace(count=2), [gpu_node("a"), gpu_node("b")])
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("True", "Answering")
    crash(cluster.pods["falcon-1"])
    cluster.settle()
    assert cluster.reason("InferenceReady") == ("False", "ContainerCrashLoopBackOff")
    assert "Pod falcon-1" in cluster.condition("InferenceReady")["message"]


def test_it_recovers(cluster: Cluster) -> None:
    crash(pod_of(cluster))
    cluster.settle()
    set_ready(pod_of(cluster), ready=True)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.plan() == ()
