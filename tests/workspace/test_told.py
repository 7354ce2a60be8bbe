"""Status and events tell what changed: once, and only when it did."""

from __future__ import annotations

from berth.workspace.actions import Emit, WriteStatus
from berth.workspace.observed import Rejected
from workspace.settled import running
from workspace.worlds import Cluster, gpu_node, set_ready, workspace


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
