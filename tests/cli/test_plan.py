"""berth plan says, without a cluster, whether a Workspace fits and what would be created."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner, Result

from berth.cli.main import main

FALCON: dict[str, Any] = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {"name": "falcon"},
    "resource": {
        "instanceType": "Standard_NC24ads_A100_v4",
        "labelSelector": {"matchLabels": {"apps": "falcon"}},
    },
    "inference": {"preset": {"name": "falcon-7b"}},
}


def falcon(**parts: Any) -> dict[str, Any]:
    return copy.deepcopy(FALCON) | parts


def on(instance_type: str | None, **more: Any) -> dict[str, Any]:
    """A resource."""
    typed = {} if instance_type is None else {"instanceType": instance_type}
    return {**typed, "labelSelector": {"matchLabels": {"apps": "falcon"}}, **more}


def config_map(options: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "options"},
        "data": {"inference_config.yaml": options},
    }


def node(name: str, gpus: int = 1, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "apps": "falcon",
                "nvidia.com/gpu.product": "NVIDIA-L4",
                "nvidia.com/gpu.memory": "23034",
                "nvidia.com/gpu.count": str(gpus),
                **labels,
            },
        },
        "status": {
            "allocatable": {"nvidia.com/gpu": str(gpus), "memory": "60Gi"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def invoke(*arguments: str, documents: Any = (FALCON,), text: str | None = None) -> Result:
        file = tmp_path / "workspace.yaml"
        file.write_text(yaml.safe_dump_all(documents) if text is None else text)
        return CliRunner().invoke(main, ["plan", str(file), *arguments])

    return invoke


def test_it_fits(run: Any) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("default/falcon would be deployed on 1 node of Standard_NC24ads")
    assert lines[1].startswith("  falcon-7b fits on Standard_NC24ads_A100_v4 (native; 2,048 tokens")
    assert any(line.startswith("      weights ") for line in lines)
    assert "    Service falcon: ClusterIP, port 80" in lines
    assert "    StatefulSet falcon: 1 pod, 1 GPU each, image berth:0.1.0-cuda" in lines


def test_it_does_not_fit(run: Any) -> None:
    workspace = falcon(inference={"preset": {"name": "llama-2-70b-chat"}})
    result = run(documents=[workspace])
    assert result.exit_code == 1
    assert "falcon would not be deployed on 1 node of Standard_NC24ads_A100_v4" in result.output
    assert (
        "Insufficient number of GPUs: Instance type Standard_NC24ads_A100_v4 provides 1, but "
        "preset llama-2-70b-chat requires at least 2" in result.output
    )
    assert "would be created" not in result.output


def test_an_engine_that_splits_by_layers_is_placed_with_less(run: Any) -> None:
    workspace = falcon(
        resource=on("Standard_ND96isr_H200_v5"),
        inference={"preset": {"name": "nemotron-3-super-120b-a12b"}},
    )
    result = run(documents=[workspace])
    assert result.exit_code == 0, result.output
    assert "1 pod, 8 GPUs each" in result.output


def test_json_has_the_status_and_every_object(run: Any) -> None:
    result = run("--json")
    [answer] = json.loads(result.output)
    assert answer["fits"]
    assert answer["workspace"] == "falcon"
    assert answer["status"]["fit"]["outcome"] == "fits"
    conditions = {c["type"]: c["status"] for c in answer["status"]["conditions"]}
    assert conditions["Fits"] == "True"
    assert conditions["WorkspaceReady"] != "True"  # nothing runs yet
    assert {made["kind"] for made in answer["objects"]} == {
        *("NetworkPolicy", "Service", "PodDisruptionBudget", "StatefulSet")
    }


def test_yaml_is_the_objects_whole(run: Any) -> None:
    result = run("-o", "yaml")
    assert result.exit_code == 0
    objects = list(yaml.safe_load_all(result.output))
    assert [made["metadata"]["namespace"] for made in objects] == ["default"] * len(objects)
    [workload] = [made for made in objects if made["kind"] == "StatefulSet"]
    [container] = workload["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_every_object_keeps_to_kubernetes_own_schema(run: Any) -> None:
    pod = {"spec": {"containers": [{"name": "a", "image": "b"}]}}
    group = falcon(
        resource=on("Standard_ND96isr_H100_v5", count=2),
        inference={"preset": {"name": "llama-3.1-405b-instruct"}},
    )
    result = run("-o", "yaml", documents=[FALCON, falcon(inference={"template": pod}), group])
    objects = list(yaml.safe_load_all(result.output))
    assert [made["kind"] for made in objects].count("StatefulSet") == 3
    for made in objects:
        kubernetes_validate.validate(made, "1.32", strict=True)


def test_the_namespace_is_the_files(run: Any) -> None:
    workspace = falcon(metadata={"name": "falcon", "namespace": "team"})
    assert run(documents=[workspace]).output.startswith("team/falcon would be deployed")


def test_every_document_is_answered(run: Any) -> None:
    small = falcon(metadata={"name": "small"}, resource=on("Standard_NV36ads_A10_v5"))
    large = falcon(metadata={"name": "large"}, inference={"preset": {"name": "llama-2-70b"}})
    result = run(documents=[small, large])
    assert result.exit_code == 1
    assert "default/small would be deployed" in result.output
    assert "default/large would not be deployed" in result.output


def test_every_document_is_checked_and_every_fault_told(run: Any) -> None:
    first = falcon(resource=on("Standard_NC24ads_A100_v4", count=0))
    second = falcon(inference={"preset": {"name": "a b"}, "confg": "x"})
    result = run(documents=[first, FALCON, second])
    assert result.exit_code == 2
    assert "workspace.yaml, document 1: resource.count should be at least 1" in result.stderr
    assert "document 2" not in result.stderr
    assert "document 3: inference.confg is not a field; did you mean config?" in result.stderr
    assert "document 3: inference.preset.name: must be a preset's name" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "workspace.yaml is no YAML: line 1: "),
        ("a: 1\na: 2\n", "workspace.yaml is no YAML: line 2: key 'a' is given twice"),
        ("a: !!python/object:os.system {}", "workspace.yaml is no YAML: line 1: "),
        ("", "there is no Workspace in "),
        ("- 1\n", "workspace.yaml: a manifest should be a mapping"),
        ("{}", "workspace.yaml: apiVersion should be kaito.sh/v1alpha1 or kaito.sh/v1beta1"),
        ("kind: Workspace\n", "workspace.yaml: apiVersion should be kaito.sh/v1alpha1 or"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", "there is no Workspace in "),
        (
            "apiVersion: kaito.sh/v1beta1\nkind: RAGEngine\n",
            "workspace.yaml: kind RAGEngine is not one that Berth has: Berth serves models, and "
            "does no retrieval",
        ),
        (
            "apiVersion: kaito.sh/v1beta1\nkind: InferenceSet\n",
            "workspace.yaml: kind InferenceSet is not one that Berth has",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_a_sentence(run: Any, text: str, sentence: str) -> None:
    result = run(text=text)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_file_that_is_not_there_is_a_sentence() -> None:
    result = CliRunner().invoke(main, ["plan", "nowhere.yaml"])
    assert result.exit_code == 2
    assert result.stderr.startswith("nowhere.yaml cannot be read: ")


def test_tuning_is_refused_and_never_ignored(run: Any) -> None:
    result = run(documents=[falcon(tuning={"method": "lora"})])
    assert result.exit_code == 2
    assert "tuning: Berth serves models and does not tune them" in result.stderr


@pytest.mark.parametrize(
    ("workspace", "sentence"),
    [
        (falcon(resource=on("Standard_NC24")), None),
        (
            falcon(resource=on("Standard_NC24xyz_v9")),
            "resource.instanceType: instance type 'Standard_NC24xyz_v9' is not known; nearest: ",
        ),
        (falcon(resource=on(None)), "resource.instanceType is empty, which means own nodes"),
        (
            falcon(inference={"preset": {"name": "falcon-7c"}}),
            "Unsupported preset name falcon-7c. Nearest: falcon-7b",
        ),
    ],
)
def test_what_names_nothing_that_is_known_is_the_files_fault(
    run: Any, workspace: dict[str, Any], sentence: str | None
) -> None:
    result = run(documents=[workspace])
    assert result.exit_code == (1 if sentence is None else 2)
    assert (sentence or "") in result.stderr


def test_a_config_map_of_the_file_is_read(run: Any) -> None:
    config = config_map("berth: {max-model-len: 1024}")
    workspace = falcon(inference={"preset": {"name": "falcon-7b"}, "config": "options"})
    result = run(documents=[config, workspace])
    assert result.exit_code == 0
    assert "1,024 tokens x 1" in result.output
    without = run(documents=[workspace])
    assert without.exit_code == 0
    assert (
        "note: inference.config: ConfigMap options is in no file; planned with the defaults"
        in without.output
    )


def test_a_config_map_with_an_unknown_key_is_the_files_fault(run: Any) -> None:
    config = config_map("berth: {max-model-lenght: 1024}")
    workspace = falcon(inference={"preset": {"name": "falcon-7b"}, "config": "options"})
    result = run(documents=[config, workspace])
    assert result.exit_code == 2
    assert "max-model-lenght is no option of the server; did you mean max-model-len" in (
        result.stderr
    )


def test_it_is_planned_on_the_nodes_of_a_file(run: Any, tmp_path: Path) -> None:
    workspace = falcon(resource=on(None))
    nodes = {"apiVersion": "v1", "kind": "List", "items": [node("a"), node("b", gpus=4)]}
    file = tmp_path / "nodes.json"
    file.write_text(json.dumps(nodes))
    result = run("--nodes", str(file), documents=[workspace])
    assert result.exit_code == 0, result.output
    assert "would be deployed on 2 nodes of the file" in result.output
    other = falcon(resource={"labelSelector": {"matchLabels": {"apps": "other"}}})
    result = run("--nodes", str(file), documents=[other])
    assert result.exit_code == 1
    assert "label selector apps=other matches none of 2 nodes" in result.output


def test_a_file_of_something_else_is_no_file_of_nodes(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "pods.json"
    file.write_text(json.dumps({"kind": "PodList", "items": [{"kind": "Pod"}]}))
    result = run("--nodes", str(file))
    assert result.exit_code == 2
    assert "pods.json should be what `kubectl get nodes -o json` prints" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "instance_type", "exit_code", "says"),
    [
        (["--sku", "standard_nc12s_v3"], None, 0, "on 1 node of Standard_NC12s_v3"),
        (["--sku", "g6.xlarge"], None, 0, "on 1 node of g6.xlarge"),
        (
            ["--sku", "g6.xlarge"],
            "Standard_NC24ads_A100_v4",
            0,
            "resource.instanceType is Standard_NC24ads_A100_v4; planned as if it were g6.xlarge",
        ),
        (["--gpu", "NVIDIA-L4", "--count", "2"], None, 0, "on 1 node with 2 x NVIDIA-L4"),
        (["--gpu", "L4"], "Standard_NC24ads_A100_v4", 0, "as if it were 1 x NVIDIA-L4"),
        (["--ram", "64"], None, 0, "on 1 node with 64 GiB of memory"),
        (["--ram", "4"], None, 1, "Insufficient memory"),
    ],
)
def test_it_is_planned_on_a_machine_that_is_named(
    run: Any, arguments: list[str], instance_type: str | None, exit_code: int, says: str
) -> None:
    result = run(*arguments, documents=[falcon(resource=on(instance_type))])
    assert result.exit_code == exit_code, result.output
    assert says in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sku", "g6.xlarge", "--gpu", "NVIDIA-L4"], "is enough"),
        (["--sku", "nothing"], "'nothing' is not known"),
        (["--gpu", "nothing"], "'nothing' is not known"),
        (["--ram", "0"], "should be a size above 0"),
        (["--node-class", "default"], "--node-class should be GROUP/KIND/NAME"),
    ],
)
def test_a_question_that_is_wrong_is_a_sentence(run: Any, arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_node_claims_are_shown_where_nodes_are_provisioned(run: Any) -> None:
    workspace = falcon(resource=on("Standard_NC24ads_A100_v4", count=2))
    result = run(
        "--node-class", "karpenter.azure.com/AKSNodeClass/gpu", "-o", "yaml", documents=[workspace]
    )
    assert result.exit_code == 0, result.output
    claims = [m for m in yaml.safe_load_all(result.output) if m["kind"] == "NodeClaim"]
    assert len(claims) == 2
    assert claims[0]["spec"]["nodeClassRef"] == {
        "group": "karpenter.azure.com",
        "kind": "AKSNodeClass",
        "name": "gpu",
    }


def test_what_has_no_effect_is_told(run: Any) -> None:
    annotations = {"kaito.sh/enablelb": "true", "kaito.sh/runtime": "vllm", "team": "a"}
    workspace = falcon(
        metadata={"name": "falcon", "annotations": annotations},
        inference={
            "preset": {
                "name": "falcon-7b",
                "accessMode": "private",
                "presetOptions": {"image": "<YOUR IMAGE URL>"},
            }
        },
    )
    result = run(documents=[workspace])
    assert result.exit_code == 0
    notes = [line for line in result.output.splitlines() if line.startswith("  note: ")]
    assert len(notes) == 2
    assert "kaito.sh/runtime has no effect in Berth" in notes[0]
    assert "presetOptions.image is '<YOUR IMAGE URL>': write what is meant" in notes[1]


def test_a_workspace_of_the_cluster_is_planned_anew(run: Any) -> None:
    """kubectl get workspace -o yaml has its status, uid and nulls."""
    stored = falcon(
        metadata={"name": "falcon", "uid": "1", "resourceVersion": "7", "generation": 3},
        status={"conditions": [], "targetNodeCount": 1},
        tuning=None,
    )
    listed = {"apiVersion": "v1", "kind": "List", "items": [stored]}
    result = run("--json", documents=[listed])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)[0]["status"]["observedGeneration"] == 1


def test_standard_input_is_a_file(run: Any) -> None:
    result = CliRunner().invoke(main, ["plan", "-"], input=yaml.safe_dump(FALCON))
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["plan", "-"], input="a: [")
    assert "standard input is no YAML: " in result.stderr


def test_a_pod_of_ones_own_is_placed_without_being_measured(run: Any) -> None:
    pod = {
        "containers": [
            {"name": "a", "image": "b", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
        ]
    }
    workspace = falcon(inference={"template": {"spec": pod}})
    result = run(documents=[workspace])
    assert result.exit_code == 1
    assert "the node offers 1 GPUs" in result.output
    result = run("--sku", "Standard_NC48ads_A100_v4", documents=[workspace])
    assert result.exit_code == 0
    assert "StatefulSet falcon: 1 pod, 2 GPUs each, image b" in result.output
