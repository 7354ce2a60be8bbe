"""docs/install.md from its first command to its answer, with what its own commands build.

There is no kubelet here. The pods are those that the planner and Helm make, run by podman with
their own image, arguments, environment, user, mounts, memory limit and probes (images.pod).
"""

from __future__ import annotations

import json
import shlex
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from berth.presets.image_names import full_name
from charts.planned import planned
from charts.rendered import ROOT, Object, container, render
from cluster.fake_api import fake_api
from docs.pages import berth_arguments, fences
from images.pod import Pod, running
from images.toolbox import Toolbox

pytestmark = [pytest.mark.images, pytest.mark.timeout(1200)]

PAGE = fences(ROOT / "docs/install.md")
SHELL = [body for kind, body in PAGE if kind == "sh"]
CURLS = [body for body in SHELL if body.startswith("curl")]
EXAMPLE = ROOT / "workspace-examples/pocket/pocket.yaml"


@pytest.fixture(scope="module")
def built(toolbox: Toolbox, context: Path) -> None:
    """The images that the page's first commands build."""
    assert SHELL[0] in (ROOT / "README.md").read_text(), "the README begins in the same way"
    commands = [berth_arguments(line) for line in SHELL[0].splitlines()]
    assert commands == [["build", "controller"], ["build", "base"]]
    for words in commands:
        assert words is not None
        done = toolbox.berth_build(*words[1:], checkout=context)
        assert done.ok, done.output[-3000:]


def of_workspace() -> tuple[Object, list[Object], str]:
    """The pod, the Secrets that it needs, and the page's call."""
    template = planned(EXAMPLE)["StatefulSet"]["spec"]["template"]
    return template, [], next(curl for curl in CURLS if "$KEY" not in curl)


def of_chart() -> tuple[Object, list[Object], str]:
    """The same of charts/model as it is."""
    found = render("model", name="pocket", namespace="ai")
    (read,) = (
        line
        for kind, body in PAGE
        if kind == "bash"
        for line in body.splitlines()
        if line.startswith("KEY=")
    )
    (secret,) = found.all("Secret")
    assert f"secret {secret['metadata']['name']} " in read
    key = secret["data"]["BERTH_API_KEY"]
    curl = next(curl for curl in CURLS if "$KEY" in curl)
    template = found.one("StatefulSet")["spec"]["template"]
    return template, [secret], f"KEY=$(echo {key} | base64 --decode); {curl}"


@pytest.fixture(scope="module", params=[of_workspace, of_chart], ids=["workspace", "chart"])
def served(
    request: pytest.FixtureRequest, toolbox: Toolbox, built: None
) -> Iterator[tuple[Pod, str]]:
    """A pod that has passed its own startup probe, and the page's call."""
    template, secrets, curl = request.param()
    with running(toolbox, template, secrets) as pod:
        pod.start()
        yield pod, curl


def test_the_pod_starts_and_answers_what_the_page_asks(
    served: tuple[Pod, str], capsys: pytest.CaptureFixture[str]
) -> None:
    pod, curl = served
    with capsys.disabled():
        print(f"\n{pod.container['image']}: Ready {pod.started:.1f} s after it was asked for")  # noqa: T201
    assert pod.passes("readinessProbe")
    assert pod.passes("livenessProbe")
    said = json.loads(pod.shell(curl))
    expected = {"France": "Paris", "3 plus 4": "7"}
    (wanted,) = [answer for asked, answer in expected.items() if asked in curl]
    assert wanted in said["choices"][0]["message"]["content"]
    assert pod.is_running()


def test_the_charts_hook_asks_in_the_image_that_the_page_builds(
    toolbox: Toolbox, built: None, tmp_path: Path
) -> None:
    """Its Job's container, with an API server of the tests in the place of the cluster's."""
    job = render("model").one("Job")
    of = container(job["spec"]["template"])
    with fake_api() as api:
        api.add_node("cpu-1", gpus=None, labels={"kubernetes.io/os": "linux"})
        file = api.kubeconfig(tmp_path)
        file.chmod(0o644)
        said = toolbox.podman(
            *("run", "--rm", "--no-healthcheck", "--read-only", "--network", "host"),
            *("--user", "10001:10001", "--cap-drop=ALL", "--volume", f"{file}:/kubeconfig:ro"),
            *("--entrypoint", json.dumps(of["command"]), full_name(of["image"])),
            *(*of["args"], "--kubeconfig", "/kubeconfig"),
        )
    assert "pocket can be placed now on: cpu-1" in said


def test_it_ends_in_order(toolbox: Toolbox, built: None) -> None:
    template, secrets, _ = of_workspace()
    with running(toolbox, template, secrets) as pod:
        pod.start()
        pod.signal("TERM")
        assert pod.wait(template["spec"]["terminationGracePeriodSeconds"]) == 0


def test_an_image_that_is_loaded_from_a_file_is_the_one_that_a_kubelet_looks_for(
    toolbox: Toolbox, built: None, tmp_path: Path
) -> None:
    (line,) = (
        line
        for kind, body in PAGE
        if kind == "bash"
        for line in body.splitlines()
        if line.startswith("podman save")
    )
    file = tmp_path / "berth.tar"
    words = [str(file) if word == "berth.tar" else word for word in shlex.split(line)[1:]]
    toolbox.podman(*words)
    with tarfile.open(file) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        held = {tag for image in json.load(manifest) for tag in image["RepoTags"]}
    pods = [planned(EXAMPLE)["StatefulSet"]["spec"]["template"]]
    pods += [template for chart in ("berth", "model") for _, template in render(chart).pods()]
    assert {full_name(container(template)["image"]) for template in pods} == held


def test_a_model_that_has_to_be_downloaded_says_so_where_there_is_no_network(
    toolbox: Toolbox, built: None
) -> None:
    found = render("model", {"model": "qwen3-0.6b", "keys": {"enabled": False}})
    with running(toolbox, found.one("StatefulSet")["spec"]["template"]) as pod:
        assert pod.wait(120) == 2
        said: Any = " ".join(pod.log.split())
    assert "Traceback" not in said
    assert "Qwen/Qwen3-0.6B is not on this machine and has to be downloaded" in said
    assert "cannot be reached" in said
