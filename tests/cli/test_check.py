"""berth check against an API server: every reason, its exit status, and nothing changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from berth.cli.check import check
from berth.cli.main import main
from cluster.fake_api import LABELS, FakeApi, fake_api

GPU = "nvidia.com/gpu"
T4 = LABELS | {
    "nvidia.com/gpu.product": "Tesla-T4",
    "nvidia.com/gpu.memory": "15360",
    "node.kubernetes.io/instance-type": "g4dn.12xlarge",
}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as running:
        yield running


@pytest.fixture
def run(api: FakeApi, tmp_path: Path) -> Any:
    def invoke(*arguments: str) -> Result:
        where = ["--kubeconfig", str(api.kubeconfig(tmp_path))]
        return CliRunner().invoke(check, [*arguments, *where])

    return invoke


def reasons(result: Result) -> list[tuple[str, str | None]]:
    assert result.exit_code == 1, result.output
    answer = json.loads(result.output)
    assert not answer["placed"]
    return [(reason["code"], reason["node"]) for reason in answer["reasons"]]


def test_it_can_be_placed_and_where(api: FakeApi, run: Any) -> None:
    api.add_node("cpu-1", gpus=None, labels={})
    api.add_node("gpu-1")
    result = run("llama-2-13b-chat")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == "llama-2-13b-chat can be placed now on: gpu-1"
    assert "llama-2-13b-chat fits on g6.12xlarge (native, tensor-parallel 4" in result.output
    assert {path.split("?")[0] for path in api.requests} == {"/api/v1/nodes", "/api/v1/pods"}


def test_no_gpu_node(api: FakeApi, run: Any) -> None:
    api.add_node("cpu-1", gpus=None, labels={"kubernetes.io/arch": "amd64"})
    assert reasons(run("llama-2-7b", "--json")) == [("no GPU node", None)]


def test_the_device_plugin_is_not_running(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1", gpus=None)
    assert reasons(run("llama-2-7b", "--json")) == [("device plugin", "gpu-1")]


def test_the_label_selector_matches_nothing(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    assert reasons(run("llama-2-7b", "-l", "apps=llama", "--json")) == [("label selector", None)]


def test_gpus_taken(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    api.add_pod("gpu-1", {"limits": {GPU: "4"}})
    result = run("llama-2-7b")
    assert result.exit_code == 1
    assert "node gpu-1: all 4 GPUs are requested by other pods [GPUs taken]" in result.output


def test_pods_that_are_replaced_give_their_gpus_back(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    mine = {"app": "llama", "release": "a"}
    api.add_pod("gpu-1", {"limits": {GPU: "4"}}, namespace="ai", labels=mine)
    assert reasons(run("llama-2-7b", "--json")) == [("GPUs taken", "gpu-1")]
    assert run("llama-2-7b", "--replacing", "ai:app=llama,release=a").exit_code == 0
    for other in ("ai:app=llama,release=b", "default:app=llama"):
        assert reasons(run("llama-2-7b", "--replacing", other, "--json")) == [
            ("GPUs taken", "gpu-1")
        ]


def test_a_pod_of_so_many_gpus(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    assert reasons(run("llama-2-70b", "--gpus", "8", "--json")) == [("too few GPUs", "gpu-1")]
    assert reasons(run("llama-2-70b", "--gpus", "2", "--json")) == [("does not fit", "gpu-1")]
    assert run("llama-2-7b", "--gpus", "4").exit_code == 0
    api.add_pod("gpu-1", {"limits": {GPU: "1"}})
    assert reasons(run("llama-2-7b", "--gpus", "4", "--json")) == [("GPUs taken", "gpu-1")]
    assert run("llama-2-7b", "--gpus", "2").exit_code == 0


def test_a_pod_of_so_much_memory(api: FakeApi, run: Any) -> None:
    api.add_node("cpu-1", gpus=None, labels={})
    enough = ("--cpu", "--memory", "32Gi")
    assert run("llama-2-7b", *enough).exit_code == 0
    assert reasons(run("llama-2-7b", "--cpu", "--memory", "4Gi", "--json")) == [
        ("does not fit", "cpu-1")
    ]
    api.add_pod("cpu-1", {"requests": {"memory": "170Gi"}})
    assert reasons(run("llama-2-7b", *enough, "--json")) == [("does not fit", "cpu-1")]


def test_one_model_over_several_nodes(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    api.add_node("gpu-2")
    over_two = ("llama-2-70b-chat", "--nodes", "2", "--together", "--gpus", "4", "--tensor", "8")
    result = run(*over_two)
    assert result.exit_code == 0, result.output
    assert "tensor-parallel 8" in result.output
    assert run("llama-2-70b-chat", "--nodes", "2", "--gpus", "4").exit_code == 1
    api.nodes.pop()
    assert reasons(run(*over_two, "--json")) == [("too few nodes", None)]


def test_only_what_berth_serves(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1", gpus=8)
    assert "(native," in run("llama-2-7b", "--served").output
    assert "(transformers," in run("gemma-2b-it", "--served").output
    result = run("ministral-3-8b-instruct", "--served")
    assert result.exit_code == 2
    assert "no engine serves ministral-3-8b-instruct yet" in result.output


@pytest.mark.parametrize("content", ["{", "[]", "text", "", '{"clusters": 3, "users": []}'])
def test_a_file_that_is_no_kubeconfig_is_a_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    done = CliRunner().invoke(main, ["check", "pocket", "--cpu", "--kubeconfig", str(file)])
    assert done.exit_code == 2, done.output
    assert "no cluster to ask: " in done.output


def test_gpu_memory_too_small(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1", labels=T4)
    result = run("llama-2-70b-chat", "--context", "512")
    assert result.exit_code == 1
    assert "node gpu-1: Insufficient number of GPUs: Instance type g4dn.12xlarge" in result.output
    assert "Insufficient GPU memory: Instance type g4dn.12xlarge provides " in result.output
    assert re.search(r"provides [\d.]+ GiB per GPU, but .* at least [\d.]+ GiB per", result.output)


def test_taints_not_tolerated(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1", taints=[{"key": "team", "value": "ml", "effect": "NoSchedule"}])
    assert reasons(run("llama-2-7b", "--json")) == [("taint", "gpu-1")]
    assert run("llama-2-7b", "--toleration", "team=ml:NoSchedule").exit_code == 0
    assert run("llama-2-7b", "--toleration", "team").exit_code == 0


def test_nodes_not_ready_or_cordoned(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1", ready="False")
    api.add_node("gpu-2", cordoned=True)
    assert reasons(run("llama-2-7b", "--json")) == [("not ready", "gpu-1"), ("cordoned", "gpu-2")]


def test_an_unknown_gpu_is_no_pass(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1", labels={"nvidia.com/gpu.present": "true"})
    assert reasons(run("llama-2-7b", "--json")) == [("unknown GPU", "gpu-1")]


def test_an_engine_that_cannot_run_there(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    found = reasons(run("llama-2-7b", "--kv-dtype", "fp8", "--json"))
    assert found == [("engine", "gpu-1")]


def test_too_few_nodes(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    found = reasons(run("llama-2-7b", "--nodes", "2", "--json"))
    assert found == [("too few nodes", None)]


def test_an_empty_cluster(run: Any) -> None:
    assert reasons(run("llama-2-7b", "--json")) == [("no nodes", None)]


def test_a_cpu_node_is_enough_where_that_is_asked(api: FakeApi, run: Any) -> None:
    api.add_node("cpu-1", gpus=None, labels={})
    assert run("llama-2-7b", "--cpu").exit_code == 0
    api.add_pod("cpu-1", {"requests": {"memory": "180Gi"}})
    assert reasons(run("llama-2-7b", "--cpu", "--context", "4096", "--json")) == [
        ("does not fit", "cpu-1")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("llama-2-7",), "did you mean"),
        (("llama-2-7b", "-l", "apps"), "KEY=VALUE"),
        (("llama-2-7b", "--cpu", "--memory", "lots"), "write 8Gi, for example"),
        (("llama-2-7b", "--gpus", "0"), "gpus"),
        (("llama-2-7b", "--replacing", "app=llama"), "NAMESPACE:KEY=VALUE"),
        (("llama-2-7b", "--replacing", "ai:app"), "KEY=VALUE"),
        (("llama-2-7b", "--toleration", "a=b:Never"), "KEY[=VALUE][:EFFECT]"),
        (("llama-2-7b", "--nodes", "0"), "at least 1"),
    ],
)
def test_a_wrong_question_exits_2(arguments: tuple[str, ...], message: str, run: Any) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_cluster_that_does_not_let_us_read_exits_2(api: FakeApi, run: Any) -> None:
    api.deny = 403
    result = run("llama-2-7b")
    assert result.exit_code == 2
    assert "`list` of nodes and of pods" in result.output
