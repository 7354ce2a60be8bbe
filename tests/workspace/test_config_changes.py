"""A ConfigMap that becomes bad takes nothing away from a model that answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from berth.workspace.config_record import ConfigRecord, live_record
from berth.workspace.options import Options
from workspace.worlds import Cluster, cpu_node, gpu_node, workspace

GOOD = "max-model-len: 1024\n"
BETTER = "max-model-len: 512\n"
BAD = "max-modle-len: 1024\n"
TOO_MUCH = "max-model-len: 2000000\n"


def config_map(content: str, version: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "options", "namespace": "models", "resourceVersion": version},
        "data": {"inference_config.yaml": content},
    }


@pytest.fixture
def cluster() -> Cluster:
    """A model that answers with the options of version 7."""
    found = Cluster(workspace(config="options"), [gpu_node()], config_map=config_map(GOOD, "7"))
    found.settle()
    assert found.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    return found


def arguments(cluster: Cluster) -> list[str]:
    spec = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    return [*spec["containers"][0].get("command", []), *spec["containers"][0].get("args", [])]


def message(cluster: Cluster) -> str:
    return str(cluster.condition("UpToDate")["message"])


def test_the_version_that_is_live_is_told(cluster: Cluster) -> None:
    assert cluster.reason("UpToDate") == ("True", "Current")
    assert "ConfigMap options as of resourceVersion 7 (generation 1 " in message(cluster)
    cluster.config_map = config_map(BETTER, "9")
    cluster.settle()
    assert "--max-model-len=512" in arguments(cluster)
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert "resourceVersion 9" in message(cluster)


@pytest.mark.parametrize(
    ("then", "reason", "said"),
    [
        (config_map(BAD, "8"), "ConfigInvalid", "max-modle-len is no option"),
        (config_map("a: [", "8"), "ConfigInvalid", "no YAML"),
        ({"metadata": {}, "data": {}}, "ConfigInvalid", "should have the key"),
        (None, "ConfigMissing", "is not there"),
        (config_map(TOO_MUCH, "8"), "ConfigDoesNotFit", "made for 2048 tokens"),
    ],
)
def test_a_bad_one_leaves_the_model_as_it_is_and_is_told_of(
    cluster: Cluster, then: dict[str, Any] | None, reason: str, said: str
) -> None:
    before = cluster.child("StatefulSet"), dict(cluster.pods)
    cluster.told.clear()
    cluster.config_map = then
    cluster.settle()
    assert (cluster.child("StatefulSet"), cluster.pods) == before
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.reason("UpToDate") == ("False", reason)
    assert said in message(cluster)
    assert "The pods go on with ConfigMap options as of resourceVersion 7" in message(cluster)
    assert [(one.type, one.reason) for one in cluster.told] == [("Warning", reason)]
    assert cluster.plan() != (), "looked at again by and by"
    cluster.config_map = config_map(BETTER, "10")
    cluster.settle()
    assert "--max-model-len=512" in arguments(cluster)
    assert cluster.reason("UpToDate") == ("True", "Current")


def test_what_else_is_changed_meanwhile_is_deployed_with_the_earlier_options(
    cluster: Cluster,
) -> None:
    cluster.config_map = config_map(BAD, "8")
    cluster.settle()
    assert cluster.workspace is not None
    inference = cluster.workspace["inference"]
    image = {"presetOptions": {"image": "registry.example.com/falcon:2"}}
    cluster.edit(inference=inference | {"preset": inference["preset"] | image})
    cluster.settle()
    spec = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "registry.example.com/falcon:2"
    assert "--max-model-len=1024" in arguments(cluster)
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    assert cluster.reason("UpToDate") == ("False", "ConfigInvalid")


def test_other_words_of_the_same_options_are_no_news(cluster: Cluster) -> None:
    before = cluster.child("StatefulSet")
    cluster.config_map = config_map("berth: {max_model_len: 1024}\n", "8")
    cluster.settle()
    assert cluster.child("StatefulSet") == before
    assert "resourceVersion 7" in message(cluster)


def test_another_config_map_that_is_not_there_is_this_generation_s_own_fault(
    cluster: Cluster,
) -> None:
    assert cluster.workspace is not None
    before = cluster.child("StatefulSet")
    cluster.config_map = None
    cluster.edit(inference=cluster.workspace["inference"] | {"config": "others"})
    cluster.settle()
    assert cluster.child("StatefulSet") == before
    assert cluster.reason("WorkspaceReady") == ("False", "ConfigMissing")
    assert cluster.reason("UpToDate") == ("False", "EarlierGeneration")


def test_a_pod_that_does_not_answer_is_told_of_as_ever(cluster: Cluster) -> None:
    cluster.config_map = config_map(BAD, "8")
    cluster.settle()
    cluster.nodes = [gpu_node(ready=False)]
    cluster.settle()
    assert cluster.reason("WorkspaceReady")[0] == "False"


def test_nothing_that_ran_means_nothing_to_go_on_with() -> None:
    cluster = Cluster(workspace(config="options"), [cpu_node()], config_map=config_map(BAD, "8"))
    cluster.settle()
    assert cluster.children == {}
    assert cluster.reason("WorkspaceReady") == ("False", "ConfigInvalid")
    assert cluster.condition("UpToDate") == {}


@pytest.mark.parametrize("written", ["", "{", '{"name": 1}', "[" * 3000])
def test_an_annotation_that_is_none_of_ours_is_none(written: str) -> None:
    live = {"metadata": {"annotations": {"berth/config": written}}}
    assert live_record(live) is None


def test_every_option_survives_its_annotation() -> None:
    options = Options(
        args=("--a=1", "--b"),
        context=7,
        dtype="float32",
        memory_fraction=0.5,
        degree=2,
        engine="native",
        quantize="int8",
    )
    record = ConfigRecord(name="n", version="1", generation=3, options=options)
    written = msgspec.json.encode(record).decode()
    assert live_record({"metadata": {"annotations": {"berth/config": written}}}) == record
