"""charts/model: berth check before each install and upgrade, as Helm and the cluster run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from berth.cli.check import check
from berth.cli.main import main
from charts.rendered import Object, container, render
from charts.variants import MODEL
from cluster.fake_api import FakeApi, fake_api

GPU = "nvidia.com/gpu"
_HOOKS = "helm.sh/hook"


def job(**values: Any) -> Object:
    return render("model", values).one("Job")


def arguments(**values: Any) -> list[str]:
    of = container(job(**values)["spec"]["template"], "check")
    assert of["command"] == ["berth"]
    first, *rest = of["args"]
    assert first == "check"
    return list(rest)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as running:
        yield running


@pytest.fixture
def run(api: FakeApi, tmp_path: Path) -> Any:
    def hook(**values: Any) -> Result:
        where = ["--kubeconfig", str(api.kubeconfig(tmp_path))]
        return CliRunner().invoke(check, [*arguments(**values), *where])

    return hook


def test_a_job_that_failed_or_was_left_behind_goes_by_itself() -> None:
    """Helm deletes no hook at an uninstall."""
    spec = job()["spec"]
    assert spec["activeDeadlineSeconds"] == 240  # one that does not end
    assert spec["ttlSecondsAfterFinished"] == 600
    assert job(check={"keepSeconds": 0})["spec"]["ttlSecondsAfterFinished"] == 0
    policy = job()["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    assert policy == "before-hook-creation,hook-succeeded"


def test_a_model_that_fits_may_be_installed(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    result = run(model="llama-2-13b-chat", gpus=4)
    assert result.exit_code == 0, result.output


def test_a_model_that_does_not_fit_stops_the_install_with_its_reason(
    api: FakeApi, run: Any
) -> None:
    api.add_node("cpu-1", gpus=None, labels={"kubernetes.io/arch": "amd64"})
    result = run(model="llama-2-70b-chat", gpus=8)
    assert result.exit_code == 1
    assert "llama-2-70b-chat cannot be placed now:" in result.output
    assert "no GPU node" in result.output


def test_on_cpu_the_pods_memory_is_asked(api: FakeApi, run: Any) -> None:
    """The node has plenty, but the pod may only take its limit."""
    api.add_node("cpu-1", gpus=None, labels={})
    assert run().exit_code == 0, run().output
    assert {"--cpu", "--memory=2Gi"} <= set(arguments())
    result = run(model="llama-2-7b")
    assert result.exit_code == 1
    assert "a pod of 2.00 GiB on cpu-1" in result.output
    assert run(model="llama-2-7b", resources={"requests": {"memory": "32Gi"}}).exit_code == 0


def test_the_cpus_that_the_pod_requests_have_to_be_free(api: FakeApi, run: Any) -> None:
    api.add_node("cpu-1", gpus=None, labels={})  # 47 CPUs
    assert "--cpus=1" in arguments()
    api.add_pod("cpu-1", {"requests": {"cpu": "45500m"}})
    assert run().exit_code == 0, run().output
    for cpus in ("2", 2, "1600m"):
        result = run(resources={"requests": {"cpu": cpus, "memory": "2Gi"}})
        assert result.exit_code == 1
        assert "CPUs, and 1.5 of 47 are not requested by other pods" in result.output
    assert run(resources={"requests": {"memory": "2Gi"}}).exit_code == 0


def test_the_pods_gpus_are_asked_not_the_nodes(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    assert run(model="llama-2-13b-chat", gpus=2).exit_code == 0
    result = run(model="llama-2-70b-chat", gpus=2)
    assert result.exit_code == 1
    assert "2 of 4 GPUs of g6.12xlarge" in result.output
    too_many = run(model="llama-2-70b-chat", gpus=8)
    assert "the pod asks for 8 GPUs, and the node has 4" in too_many.output


@pytest.mark.parametrize(("model", "gpus"), [("falcon-7b", 2), ("gemma-3-4b-it", 2), ("phi-4", 4)])
def test_models_that_no_number_of_ranks_divides_can_be_installed(
    api: FakeApi, run: Any, model: str, gpus: int
) -> None:
    """The server takes as many of its GPUs as it can use: one rank, or one process over all."""
    api.add_node("gpu-1")
    result = run(model=model, gpus=gpus)
    assert result.exit_code == 0, result.output


def test_a_model_over_several_nodes_is_asked_about_as_a_whole(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    values: Any = {"model": "llama-2-70b-chat", "gpus": 4, "nodes": 2}
    assert {"--gpus=4", "--nodes=2", "--together", "--tensor=8"} <= set(arguments(**values))
    assert "2 nodes are needed, and 1 can take it now" in run(**values).output
    api.add_node("gpu-2")
    assert run(**values).exit_code == 0
    api.add_node("cpu-1", gpus=None, labels={"a": "b"})
    api.add_node("cpu-2", gpus=None, labels={"a": "b"})
    assert run(nodes=2, nodeSelector={"a": "b"}).exit_code == 0


def test_a_model_that_no_engine_of_ours_serves_is_not_installed(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1", gpus=8)
    result = run(model="ministral-3-8b-instruct", gpus=8)
    assert result.exit_code != 0
    assert "no engine serves ministral-3-8b-instruct yet" in result.output


def test_an_upgrade_gives_the_place_of_the_old_pods_to_the_new(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1")
    pods = dict(render("model", {"gpus": 4}).pods())["StatefulSet pocket"]
    taken = {"limits": {GPU: "4"}}
    api.add_pod("gpu-1", taken, namespace="ai", labels=pods["metadata"]["labels"])
    assert run(model="llama-2-13b-chat", gpus=4).exit_code == 0
    api.pods[0]["metadata"]["namespace"] = "others"
    assert run(model="llama-2-13b-chat", gpus=4).exit_code == 1


def test_selector_and_tolerations_are_the_pods(api: FakeApi, run: Any) -> None:
    api.add_node("gpu-1", taints=[{"key": "team", "value": "ml", "effect": "NoSchedule"}])
    values: Any = {"model": "llama-2-7b", "gpus": 1}
    assert run(**values).exit_code == 1
    equal = {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}
    for toleration in (
        equal,
        {"key": "team", "operator": "Exists"},
        {"key": "team", "value": "ml"},
    ):
        assert run(tolerations=[toleration], **values).exit_code == 0, toleration
    product = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert run(tolerations=[equal], nodeSelector=product, **values).exit_code == 0
    other = run(tolerations=[equal], nodeSelector={"zone": "b"}, **values)
    assert "no node has the label zone" in other.output


def test_the_size_that_is_asked_about_is_the_engines() -> None:
    engine = {"kind": "native", "dtype": "bfloat16", "maxModelLen": 1024}
    given = arguments(gpus=2, engine=engine)
    expected = {"--gpus=2", "--engine=native", "--dtype=bfloat16", "--context=1024"}
    assert expected <= set(given)
    assert "--tensor=2" in arguments(gpus=4, engine={"degree": 2})
    more = arguments(gpus=2, engine=engine, check={"context": 2048, "concurrency": 8})
    assert {"--context=2048", "--concurrency=8"} <= set(more)


def test_what_it_may_do_is_list_nodes_and_pods_while_it_runs() -> None:
    given = render("model")
    role = given.one("ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}]
    binding = given.one("ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "ai-pocket-check"
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "pocket-check", "namespace": "ai"}
    ]
    account = given.one("ServiceAccount", "pocket-check")
    pod = given.one("Job")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "pocket-check"
    for item in (role, binding, account):
        notes = item["metadata"]["annotations"]
        assert notes[_HOOKS] == "pre-install,pre-upgrade"
        assert int(notes["helm.sh/hook-weight"]) < 0
        assert "hook-succeeded" in notes["helm.sh/hook-delete-policy"]


def test_the_reason_can_be_read_after_the_failure() -> None:
    given = job()
    notes = given["metadata"]["annotations"]
    assert notes[_HOOKS] == "pre-install,pre-upgrade"
    assert notes["helm.sh/hook-output-log-policy"] == "hook-failed"
    assert "hook-failed" not in notes["helm.sh/hook-delete-policy"]
    assert given["spec"]["backoffLimit"] == 0
    assert container(given["spec"]["template"])["terminationMessagePolicy"] == (
        "FallbackToLogsOnError"
    )


def test_it_is_given_up_in_time_and_can_be_switched_off() -> None:
    assert job(check={"timeoutSeconds": 30})["spec"]["activeDeadlineSeconds"] == 30
    for off in ({"check": {"enabled": False}}, {"replicas": 0}):
        given = render("model", off)
        assert given.all("Job") == given.all("ClusterRole") == []


def test_a_gated_models_size_is_read_with_the_token() -> None:
    hub = {"tokenSecret": "hf", "endpoint": "https://mirror.example.org"}
    of = container(job(weights={"hub": hub})["spec"]["template"])
    names = {entry["name"] for entry in of["env"]}
    assert names == {"HF_TOKEN", "HF_ENDPOINT"}


@pytest.mark.parametrize("values", MODEL.values(), ids=MODEL.keys())
def test_berth_understands_what_the_chart_says_to_it(values: Object) -> None:
    for name, template in render("model", values).pods():
        of = container(template)
        given = [word.replace("$(POD_INDEX)", "1") for word in of["args"]]
        command = "serve" if name.startswith("StatefulSet") else given.pop(0)
        found = main.get_command(click.Context(main), command)
        assert found is not None
        found.make_context(command, given)
