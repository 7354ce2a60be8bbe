"""Whatever the cluster holds and whatever happens to it: no exception, no lie, one fixpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.workspace.actions import Apply, Delete, LookAgain, WriteStatus
from berth.workspace.observed import Observed, Rejected, Settings
from berth.workspace.plan import plan
from workspace.worlds import (
    NOW,
    Cluster,
    Object,
    busy_pod,
    check_reasons,
    cpu_node,
    crash,
    gpu_node,
    presets,
    set_ready,
    workspace,
)

A100 = ("NVIDIA-A100-SXM4-80GB", 81920)
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "True", "1e99", "-5", "NoSchedule", "2026-13-45T99:99:99Z", "0001-01-01T00:00:00Z"]
    )
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "spec", "status", "uid", "x"]), inner)
    ),
    max_leaves=5,
)


def worlds() -> list[Cluster]:
    """One of each kind, as it has settled."""
    made = [
        Cluster(workspace(), [gpu_node()]),
        Cluster(
            workspace("llama-2-70b-chat", count=2),
            [gpu_node("a", 1, *A100), gpu_node("b", 1, *A100)],
        ),
        Cluster(workspace("llama-2-70b-chat"), [gpu_node()]),
        Cluster(
            workspace(None, template={"spec": {"containers": [{"name": "x", "image": "x"}]}}),
            [gpu_node()],
        ),
        Cluster(
            workspace(instanceType="g5.xlarge"),
            [cpu_node()],
            settings=Settings(provisioning=True, node_class={"group": "g", "kind": "k"}),
            claims=[],
        ),
        Cluster(
            workspace(config="c"),
            [gpu_node()],
            config_map={"data": {"berth.yaml": "max-model-len: 1024"}},
        ),
    ]
    for one in made:
        one.settle()
        one.events = [
            {
                "type": "Warning",
                "reason": "FailedCreate",
                "message": "exceeded quota",
                "involvedObject": {"kind": "StatefulSet", "uid": "u"},
            }
        ]
    return made


WORLDS = worlds()


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in an object, its own root left out."""
    found = []
    inner = value.items() if isinstance(value, dict) else []
    if isinstance(value, list):
        inner = enumerate(value)
    for key, part in inner:
        found += [(*at, key), *paths(part, (*at, key))]
    return found


def spoiled(obj: Object, path: tuple[Any, ...], junk: Any) -> Object:
    made = copy.deepcopy(obj)
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    return made


@st.composite
def odd_observations(draw: st.DrawFn) -> Observed:
    """A settled world in which some places hold junk."""
    seen = draw(st.sampled_from(WORLDS)).observed()
    parts: dict[str, list[Object]] = {
        "workspace": [dict(seen.workspace)],
        "nodes": list(map(dict, seen.nodes)),
        "pods": list(map(dict, seen.pods)),
        "children": list(map(dict, seen.children)),
        "claims": list(map(dict, seen.claims or ())),
        "config_map": [] if seen.config_map is None else [dict(seen.config_map)],
        "events": list(map(dict, seen.events)),
    }
    for _ in range(draw(st.integers(1, 3))):
        group = draw(st.sampled_from([key for key, objects in parts.items() if objects]))
        index = draw(st.integers(0, len(parts[group]) - 1))
        places = paths(parts[group][index])
        if places:
            path = draw(st.sampled_from(places))
            parts[group][index] = spoiled(parts[group][index], path, draw(JUNK))
    return Observed(
        workspace=parts["workspace"][0],
        settings=seen.settings,
        presets=presets(),
        nodes=tuple(parts["nodes"]),
        pods=tuple(parts["pods"]),
        children=tuple(parts["children"]),
        claims=None if seen.claims is None else tuple(parts["claims"]),
        config_map=parts["config_map"][0] if parts["config_map"] else None,
        events=tuple(parts["events"]),
        rejected=draw(st.just(()) | st.just((Rejected(kind="Service", name="x", message="y"),))),
    )


def statuses(actions: tuple[Any, ...]) -> list[Object]:
    return [action.status for action in actions if isinstance(action, WriteStatus)]


def conditions_of(status: Object) -> dict[str, Object]:
    return {one["type"]: one for one in status["conditions"]}


@QUIET
@given(odd_observations())
def test_no_odd_object_is_an_exception(observed: Observed) -> None:
    before = copy.deepcopy((observed.workspace, observed.nodes, observed.pods, observed.children))
    actions = plan(observed, NOW + timedelta(minutes=1))
    assert before == (observed.workspace, observed.nodes, observed.pods, observed.children)
    for status in statuses(actions):
        check_reasons(status)


@QUIET
@given(odd_observations())
def test_nothing_is_made_for_what_does_not_fit(observed: Observed) -> None:
    actions = plan(observed, NOW)
    for status in statuses(actions):
        if conditions_of(status).get("Fits", {}).get("status") == "False":
            assert not [action for action in actions if isinstance(action, Apply)]


@QUIET
@given(odd_observations())
def test_the_same_observation_gives_the_same_plan(observed: Observed) -> None:
    assert plan(observed, NOW) == plan(copy.deepcopy(observed), NOW)


@given(JUNK, JUNK, JUNK, JUNK)
@QUIET
def test_no_kind_of_object_is_an_exception(ws: Any, node: Any, pod: Any, child: Any) -> None:
    def obj(value: Any) -> Object:
        return value if isinstance(value, dict) else {"metadata": value, "spec": value}

    base = WORLDS[0].observed()
    observed = Observed(
        workspace={**base.workspace, **{k: v for k, v in obj(ws).items() if k != "metadata"}},
        settings=base.settings,
        presets=base.presets,
        nodes=(*base.nodes, obj(node)),
        pods=(*base.pods, obj(pod)),
        children=(*base.children, obj(child)),
        claims=(obj(child),),
        events=(obj(pod),),
    )
    plan(observed, NOW)


# What can happen to a cluster while a Workspace is in it.


def _pod(cluster: Cluster, index: int) -> Object | None:
    pods = list(cluster.pods.values())
    return pods[index % len(pods)] if pods else None


def _crash(cluster: Cluster, index: int) -> None:
    pod = _pod(cluster, index)
    if pod is not None:
        crash(pod)


def _recover(cluster: Cluster, index: int) -> None:
    pod = _pod(cluster, index)
    if pod is not None:
        set_ready(pod, ready=True, now=cluster.now)


def _load(cluster: Cluster, index: int) -> None:
    pod = _pod(cluster, index)
    if pod is not None:
        set_ready(pod, ready=False, now=cluster.now)


def _delete_child(cluster: Cluster, index: int) -> None:
    keys = sorted(cluster.children)
    if keys:
        key = keys[index % len(keys)]
        del cluster.children[key]
        if key[0] == "StatefulSet":
            cluster.pods.clear()


def _edit_child(cluster: Cluster, index: int) -> None:
    keys = sorted(cluster.children)
    if keys:
        child = cluster.children[keys[index % len(keys)]]
        child["metadata"]["labels"] = {"kaito.sh/workspace": "falcon"}


def _delete_pod(cluster: Cluster, index: int) -> None:
    if cluster.pods:
        del cluster.pods[sorted(cluster.pods)[index % len(cluster.pods)]]


def _node(cluster: Cluster, index: int) -> None:
    node = cluster.nodes[index % len(cluster.nodes)]
    condition = node["status"]["conditions"][0]
    condition["status"] = "False" if condition["status"] == "True" else "True"


def _busy(cluster: Cluster, index: int) -> None:
    cluster.others = [] if cluster.others else [busy_pod("a", name="x")]


def _image(cluster: Cluster, index: int) -> None:
    image = {"image": f"own:{index}"}
    cluster.edit(inference={"preset": {"name": "falcon-7b", "presetOptions": image}})


def _count(cluster: Cluster, index: int) -> None:
    selector = {"matchLabels": {"pool": "gpu"}}
    cluster.edit(resource={"count": 1 + index % 3, "labelSelector": selector})


def _too_large(cluster: Cluster, index: int) -> None:
    cluster.edit(inference={"preset": {"name": "llama-2-70b-chat"}})


def _time(cluster: Cluster, index: int) -> None:
    cluster.now += timedelta(minutes=index * 7)


HAPPENINGS: list[Callable[[Cluster, int], None]] = [
    _crash,
    _recover,
    _load,
    _delete_child,
    _edit_child,
    _delete_pod,
    _node,
    _busy,
    _image,
    _count,
    _too_large,
    _time,
]


def check(cluster: Cluster, generation: int) -> int:
    """What holds at every moment; the generation that the status tells of."""
    assert cluster.workspace
    status = cluster.workspace["status"]
    seen: int = status.get("observedGeneration", 0)
    assert seen >= generation, "observedGeneration went back"
    found = conditions_of(status) if status else {}
    assert all(condition["observedGeneration"] == seen for condition in found.values())
    return seen


def ready_pods(cluster: Cluster) -> int:
    return sum(
        all(one["ready"] for one in pod["status"]["containerStatuses"])
        for pod in cluster.pods.values()
    )


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 8), st.integers(0, 3)), max_size=12
    )
)
def test_every_history_ends_in_a_fixpoint_that_tells_the_truth(
    history: list[tuple[Callable[[Cluster, int], None], int, int]],
) -> None:
    cluster = Cluster(workspace(), [gpu_node("a"), gpu_node("b", 2)])
    generation = 0
    for happens, index, steps in history:
        happens(cluster, index)
        for _ in range(steps):
            cluster.step()
            generation = check(cluster, generation)
    cluster.settle()
    check(cluster, generation)
    ready = cluster.reason("WorkspaceReady")[0] == "True"
    # While pods are added, those that are there answer; that some do not is told apart.
    assert not ready or ready_pods(cluster) > 0
    if ready and ready_pods(cluster) < len(cluster.pods):
        assert cluster.reason("UpToDate")[0] == "False"
    assert not [one for one in cluster.plan() if not isinstance(one, LookAgain)]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 8)), max_size=8))
def test_once_all_is_well_again_the_model_serves(
    history: list[tuple[Callable[[Cluster, int], None], int]],
) -> None:
    """The same children as of a Workspace to which nothing ever happened."""
    cluster = Cluster(workspace(), [gpu_node("a"), gpu_node("b")])
    for happens, index in history:
        happens(cluster, index)
        cluster.step()
    for node in cluster.nodes:
        node["status"]["conditions"][0]["status"] = "True"
    cluster.others = []
    calm = workspace()
    cluster.edit(resource=calm["resource"], inference=calm["inference"])
    cluster.settle()
    for pod in cluster.pods.values():
        set_ready(pod, ready=True, now=cluster.now)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    undisturbed = Cluster(workspace(), [gpu_node("a"), gpu_node("b")])
    undisturbed.settle()
    assert {key: child["spec"] for key, child in cluster.children.items()} == {
        key: child["spec"] for key, child in undisturbed.children.items()
    }


@QUIET
@given(st.lists(st.sampled_from(["step", "interrupt"]), max_size=20), st.integers(0, 5))
def test_a_plan_that_is_carried_out_in_part_is_gone_on_with(turns: list[str], kept: int) -> None:
    """The shell may end after any action; the next plan begins with what is there."""
    cluster = Cluster(workspace(), [gpu_node()])
    for turn in turns:
        if turn == "step":
            cluster.step()
            continue
        for action in cluster.plan()[:kept]:
            if isinstance(action, Apply | Delete | WriteStatus):
                cluster.carry_out(action)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert len(cluster.children) == 5
