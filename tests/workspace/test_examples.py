"""Each file of workspace-examples/ is one that the API server takes and that berth plan places."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from berth.cli.main import main
from berth.cli.plan_answer import Where, answer
from berth.cli.plan_files import read_files
from berth.fit import cpu_node
from berth.fit.units import GIB
from berth.presets.catalogue import Preset, load_presets
from berth.workspace.types import VERSIONS
from tools.plan_examples import example, path_of, servable
from workspace.admission import ApiServer
from workspace.manifests import ROOT, Json, crd

FOLDER = ROOT / "workspace-examples"
FILES = sorted(FOLDER.rglob("*.yaml"))
OWN = sorted(FOLDER.glob("*.yaml"))  # written by hand; the others by plan_examples
SERVERS = {f"kaito.sh/{version}": ApiServer(crd(), version) for version in VERSIONS}
PRESETS = load_presets()
REFUSED = {"does-not-fit.yaml"}
SEED = {
    *("falcon-7b", "falcon-7b-instruct", "falcon-40b", "falcon-40b-instruct"),
    *("llama-2-7b", "llama-2-7b-chat", "llama-2-13b", "llama-2-13b-chat"),
    *("llama-2-70b", "llama-2-70b-chat"),
}


def named(file: Path) -> str:
    return str(file.relative_to(FOLDER))


def documents(file: Path) -> list[Json]:
    return list(yaml.safe_load_all(file.read_text()))


def workspaces(file: Path) -> list[Json]:
    return [found for found in documents(file) if found["kind"] == "Workspace"]


@pytest.mark.parametrize("file", FILES, ids=named)
def test_the_api_server_takes_it(file: Path) -> None:
    assert len(workspaces(file)) == 1
    for workspace in workspaces(file):
        SERVERS[workspace["apiVersion"]].admit(workspace)


def test_there_is_one_for_each_preset_that_an_engine_of_ours_runs() -> None:
    wanted = {path_of(preset) for preset in servable(PRESETS)}
    assert {file.relative_to(FOLDER) for file in FILES if file not in OWN} == wanted
    assert {preset.name for preset in servable(PRESETS)} >= SEED


@pytest.mark.parametrize("preset", servable(PRESETS), ids=lambda preset: preset.name)
def test_a_presets_example_is_as_it_is_written_and_fits(preset: Preset) -> None:
    file = FOLDER / path_of(preset)
    [workspace] = workspaces(file)
    resource = workspace["resource"]
    text = example(preset, resource.get("instanceType", ""), resource.get("count", 1))
    assert file.read_text() == text, "make docs writes it anew"
    manifests = read_files([str(file)])
    machine = None if "instanceType" in resource else cpu_node(4 * GIB)
    found = answer(manifests.workspaces[0], manifests, Where(presets=PRESETS, machine=machine))
    assert found.fits, found.status
    assert found.notes == []


@pytest.mark.parametrize("file", OWN, ids=named)
def test_the_first_command_of_its_comments_answers_as_they_say(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    command = re.search(r"^#   berth (plan .*)$", file.read_text(), re.MULTILINE)
    assert command is not None
    result = CliRunner().invoke(main, shlex.split(command[1]))
    assert result.exit_code == (1 if file.name in REFUSED else 0), result.output
    assert file.name in command[1]


@pytest.mark.parametrize(
    ("file", "shows"),
    [
        ("multi-node.yaml", "2 pods, 8 GPUs each"),
        ("replicas.yaml", "2 pods, 1 GPU each"),
        ("private-image.yaml", "image registry.example.com/llama-2-13b-chat:1"),
        ("custom-template.yaml", "image vllm/vllm-openai:latest"),
        ("load-balancer.yaml", "LoadBalancer, port 80"),
        ("options.yaml", "8,192 tokens"),
        ("does-not-fit.yaml", "It would fit with 2 x NVIDIA-A100-80GB."),
    ],
)
def test_it_shows_what_it_says(file: str, shows: str) -> None:
    assert shows in CliRunner().invoke(main, ["plan", str(FOLDER / file)]).output


def test_the_readme_names_every_file_that_is_written_by_hand() -> None:
    linked = re.findall(r"\]\(([\w-]+\.yaml)\)", (FOLDER / "README.md").read_text())
    assert sorted(linked) == sorted(file.name for file in OWN)
    assert {file.name for file in OWN} >= REFUSED


def test_secrets_are_named_and_never_held() -> None:
    for file in FILES:
        assert all(found["kind"] in ("Workspace", "ConfigMap") for found in documents(file))
