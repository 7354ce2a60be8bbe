"""A spec that cannot be served as it is written is refused, with what is wrong in it."""

from __future__ import annotations

import pytest

from workspace.settled import A100, settled
from workspace.worlds import Object, gpu_node, workspace


def test_a_degree_that_the_nodes_cannot_share_is_refused() -> None:
    """Four ranks on three nodes; they would fit."""
    nodes = [gpu_node(name, 2, *A100) for name in "abc"]
    config = {"data": {"inference_config.yaml": "vllm:\n  tensor-parallel-size: 4\n"}}
    ws = workspace("llama-2-70b-chat", count=3, config="c")
    cluster = settled(ws, nodes, config_map=config)
    assert cluster.reason("Fits") == ("False", "DoesNotFit")
    assert "should be a multiple of 3 nodes" in cluster.condition("Fits")["message"]
    assert not cluster.children


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
