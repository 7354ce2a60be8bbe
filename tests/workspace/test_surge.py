"""The new pod first, where there is room: a second StatefulSet behind the same Service."""

from __future__ import annotations

from typing import Any

import pytest

from berth.workspace import names
from berth.workspace.actions import Apply
from berth.workspace.observed import Rejected, Settings
from workspace.worlds import Cluster, busy_pod, crash, gpu_node, set_ready, workspace

NEXT = names.surge("falcon")
SURGE = ("StatefulSet", NEXT)
MAIN = ("StatefulSet", "falcon")


@pytest.fixture
def cluster() -> Cluster:
    """A model that answers on one of two nodes; new pods take their time."""
    found = Cluster(workspace(), [gpu_node("a"), gpu_node("b")])
    found.settle()
    found.pods_become_ready = False
    return found


def _image(cluster: Cluster, tag: str = "2") -> None:
    assert cluster.workspace is not None
    inference = cluster.workspace["inference"]
    chosen = {"presetOptions": {"image": f"registry.example.com/falcon:{tag}"}}
    cluster.edit(inference=inference | {"preset": inference["preset"] | chosen})


def _image_of(cluster: Cluster, key: tuple[str, str]) -> str:
    (container,) = cluster.children[key]["spec"]["template"]["spec"]["containers"]
    return str(container["image"]).rsplit(":", 1)[1]


def _is_selected(pod: dict[str, Any], selector: dict[str, str]) -> bool:
    return selector.items() <= pod["metadata"]["labels"].items()


def test_the_old_pod_answers_until_the_new_one_does(cluster: Cluster) -> None:
    """faults K.22: 17 seconds without an answer."""
    old = cluster.pods["falcon-0"]
    _image(cluster)
    cluster.settle()
    assert cluster.pods["falcon-0"] is old, "not touched"
    assert _image_of(cluster, SURGE) == "2"
    assert cluster.reason("InferenceReady") == ("False", "RollingOut")
    assert "beside the old one" in cluster.condition("InferenceReady")["message"]
    set_ready(cluster.pods[f"{NEXT}-0"], True)
    cluster.settle()
    assert cluster.pods["falcon-0"] is not old, "now its own pod is replaced"
    assert _image_of(cluster, MAIN) == "2"
    assert SURGE in cluster.children, "which answers meanwhile"
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.reason("UpToDate")[0] == "False"
    set_ready(cluster.pods["falcon-0"], True)
    cluster.settle()
    assert SURGE not in cluster.children
    assert list(cluster.pods) == ["falcon-0"]
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.reason("UpToDate") == ("True", "Current")


def test_the_two_are_told_apart_and_the_service_reaches_both(cluster: Cluster) -> None:
    _image(cluster)
    cluster.settle()
    old, new = cluster.pods["falcon-0"], cluster.pods[f"{NEXT}-0"]
    service = cluster.child("Service", "falcon")["spec"]["selector"]
    assert _is_selected(old, service)
    assert _is_selected(new, service)
    of_surge = cluster.children[SURGE]["spec"]["selector"]["matchLabels"]
    assert _is_selected(new, of_surge)
    assert not _is_selected(old, of_surge)
    versions = [pod["metadata"]["annotations"][names.VERSION] for pod in (old, new)]
    assert versions[0] != versions[1]
    # Neither keeps the other from its node: those that are told to keep apart are the old kind.
    assert "podAntiAffinity" not in new["spec"]["affinity"]
    rule = old["spec"]["affinity"]["podAntiAffinity"]
    (term,) = rule["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchExpressions"] == [
        {"key": names.SURGE, "operator": "DoesNotExist"}
    ]
    assert names.SURGE in new["metadata"]["labels"]
    assert names.SURGE not in old["metadata"]["labels"]


def _busy(cluster: Cluster) -> None:
    cluster.others = [busy_pod("b")]


def _count_of_two(cluster: Cluster) -> None:
    assert cluster.workspace is not None
    cluster.pods_become_ready = True
    cluster.edit(resource=cluster.workspace["resource"] | {"count": 2})
    cluster.nodes = [gpu_node(name) for name in "abc"]
    cluster.settle()


def _name_taken(cluster: Cluster) -> None:
    stranger = {"name": NEXT, "namespace": "models", "uid": "stranger"}
    cluster.children[SURGE] = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": stranger}
    cluster._stateful_sets = lambda: None  # type: ignore[method-assign]


def _does_not_answer(cluster: Cluster) -> None:
    set_ready(cluster.pods["falcon-0"], False)


@pytest.mark.parametrize("change", [_busy, _count_of_two, _name_taken, _does_not_answer])
def test_without_room_or_need_it_is_done_as_ever(cluster: Cluster, change: Any) -> None:
    change(cluster)
    strangers = cluster.children.get(SURGE)
    _image(cluster)
    cluster.settle()
    assert _image_of(cluster, MAIN) == "2"
    assert cluster.children.get(SURGE) is strangers


def test_a_pod_of_one_s_own_may_keep_what_two_cannot_share() -> None:
    template = {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    cluster = Cluster(workspace(None, template=template), [gpu_node("a"), gpu_node("b")])
    cluster.settle()
    cluster.edit(inference={"template": {"spec": {"containers": [{"name": "w", "image": "w:2"}]}}})
    cluster.settle()
    assert SURGE not in cluster.children
    assert _image_of(cluster, MAIN) == "2"


def test_a_new_pod_that_fails_takes_nothing_away(cluster: Cluster) -> None:
    old = cluster.pods["falcon-0"]
    _image(cluster)
    cluster.settle()
    crash(cluster.pods[f"{NEXT}-0"], words="no such option")
    cluster.settle()
    assert cluster.pods["falcon-0"] is old
    assert cluster.reason("InferenceReady") == ("False", "ContainerCrashLoopBackOff")
    said = cluster.condition("InferenceReady")["message"]
    assert "no such option" in said
    assert said.endswith("The old pod goes on to answer.")
    _image(cluster, "3")
    cluster.settle()
    assert cluster.pods["falcon-0"] is old
    assert _image_of(cluster, SURGE) == "3", "made anew"


def test_a_change_of_the_chart_leaves_the_workspace_ready_all_the_time(cluster: Cluster) -> None:
    cluster.settings = Settings(api_key_secret="keys")
    cluster.settle()
    assert SURGE in cluster.children
    applied = [one for one in cluster.log if isinstance(one, Apply) and one.takes_turn]
    assert [one.object["metadata"]["name"] for one in applied] == [NEXT]
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.reason("UpToDate") == ("False", "RollingOut")
    # Begun, it is not given up for another one's turn.
    cluster.restarting = ("models/other",)
    cluster.settle()
    assert SURGE in cluster.children
    set_ready(cluster.pods[f"{NEXT}-0"], True)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    set_ready(cluster.pods["falcon-0"], True)
    cluster.settle()
    assert SURGE not in cluster.children
    assert cluster.reason("UpToDate") == ("True", "Current")


def test_where_the_scheduler_finds_no_room_it_is_done_without(cluster: Cluster) -> None:
    _image(cluster)
    cluster.settle()
    pod = cluster.pods[f"{NEXT}-0"]
    del pod["spec"]["nodeName"]
    pod["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}
        ],
    }
    cluster.settle()
    assert SURGE not in cluster.children
    assert _image_of(cluster, MAIN) == "2"


def test_where_a_quota_lets_no_second_pod_in_it_is_done_without(cluster: Cluster) -> None:
    _image(cluster)
    cluster.step()
    del cluster.pods[f"{NEXT}-0"]
    cluster._stateful_sets = lambda: None  # type: ignore[method-assign]
    made = {"uid": cluster.children[SURGE]["metadata"]["uid"], "kind": "StatefulSet"}
    cluster.events = [
        {"reason": "FailedCreate", "involvedObject": made, "message": "exceeded quota: gpus"}
    ]
    cluster.settle()
    assert SURGE not in cluster.children
    assert _image_of(cluster, MAIN) == "2"


def test_where_the_server_refuses_a_second_stateful_set_it_is_done_without(
    cluster: Cluster,
) -> None:
    cluster.rejected = (Rejected(kind="StatefulSet", name=NEXT, message="exceeded quota"),)
    _image(cluster)
    cluster.settle()
    assert _image_of(cluster, MAIN) == "2"
    applied = [one.object["metadata"]["name"] for one in cluster.log if isinstance(one, Apply)]
    assert NEXT not in applied


def test_one_that_is_no_longer_wanted_is_ended(cluster: Cluster) -> None:
    """Also where nothing of the new generation can be made."""
    old = cluster.pods["falcon-0"]
    _image(cluster)
    cluster.settle()
    assert cluster.workspace is not None
    cluster.edit(inference=cluster.workspace["inference"] | {"config": "missing"})
    cluster.settle()
    assert SURGE not in cluster.children
    assert cluster.pods == {"falcon-0": old}
    assert cluster.reason("InferenceReady") == ("False", "EarlierGeneration")


def test_a_change_taken_back_ends_it_too(cluster: Cluster) -> None:
    old = cluster.pods["falcon-0"]
    assert cluster.workspace is not None
    before = cluster.workspace["inference"]
    _image(cluster)
    cluster.settle()
    cluster.edit(inference=before)
    cluster.settle()
    assert cluster.pods == {"falcon-0": old}
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")


def test_its_own_pods_take_no_room_from_a_new_choice(cluster: Cluster) -> None:
    """A change of the options chooses the shape anew, while a second pod runs."""
    _image(cluster)
    cluster.settle()
    set_ready(cluster.pods[f"{NEXT}-0"], True)
    cluster.config_map = {
        "metadata": {"name": "c", "resourceVersion": "1"},
        "data": {"berth.yaml": "max-model-len: 512"},
    }
    assert cluster.workspace is not None
    cluster.edit(inference=cluster.workspace["inference"] | {"config": "c"})
    cluster.pods_become_ready = True
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert SURGE not in cluster.children


@pytest.mark.parametrize("name", ["llama", "a" * 63, "x.y.z", "llama-next"])
def test_its_name_has_room_for_a_revision(name: str) -> None:
    made = names.surge(name)
    assert len(made) <= names.LONGEST_STATEFUL_SET
    assert names.dns_label(made) == made
    assert made not in {names.stateful_set(other) for other in (name, f"{name}-next")}
