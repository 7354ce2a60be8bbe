"""README and docs/{install,helm,security}.md: what people are told to type and to believe is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from click.testing import CliRunner

from berth.cli.check import check
from berth.controller.rbac import GRANTS
from berth.workspace.validate import complaints
from charts.planned import settings
from charts.rendered import CHARTS, ROOT, Object, Rendered, render
from cluster.fake_api import fake_api

PAGES = [ROOT / "README.md"]
PAGES += [ROOT / "docs" / name for name in ("install.md", "helm.md", "security.md")]
_FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
# Options that take a value, by command; all are written out.
_HELM: dict[str, set[str]] = {
    "install": {"namespace", "set", "values"},
    "upgrade": {"namespace", "set", "values"},
    "uninstall": {"namespace"},
    "show": set(),
}
_HELM_FLAGS = {"create-namespace", "reset-then-reuse-values"}
_KUBECTL: dict[str, set[str]] = {
    "apply": {"filename", "namespace"},
    "get": {"namespace", "output"},
    "describe": {"namespace"},
    "logs": {"namespace"},
    "rollout": {"namespace", "timeout"},
    "port-forward": {"namespace"},
    "create": {"namespace", "from-literal"},
    "delete": {"namespace"},
}
_KUBECTL_FLAGS = {"watch", "all", "all-namespaces"}


# What brings images into a cluster: the words of the command that are not names of images.
_LOADERS: dict[tuple[str, ...], set[str]] = {
    ("kind", "load", "docker-image"): set(),
    ("kind", "load", "image-archive"): {"berth.tar"},
    ("podman", "save"): {"--multi-image-archive", "--output", "berth.tar"},
}


def fences(kind: str) -> list[str]:
    return [
        body for page in PAGES for found, body in _FENCE.findall(page.read_text()) if found == kind
    ]


def commands() -> list[list[str]]:
    """Every line of the bash fences as words; KEY=$(command) stands for its command."""
    lines = "".join(fences("bash")).replace("\\\n", " ").splitlines()
    found = []
    for line in filter(None, (line.strip() for line in lines)):
        inner = re.fullmatch(r"KEY=\$\((.*?)(?: \| .*)?\)", line)
        found.append(shlex.split(inner[1] if inner else line))
    return found


def split(words: list[str], taking: set[str], flags: set[str]) -> tuple[list[str], Any]:
    """Positional words, and the options with their values. Fails on an option that is not known."""
    positional: list[str] = []
    options: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            positional.append(word)
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        assert name in taking | flags, f"{word} in {shlex.join(words)}"
        if name in taking:
            value = value if equals else next(rest)
        options.setdefault(name, []).append(value)
    return positional, options


def values_of(options: dict[str, list[str]]) -> Object:
    """What --values and --set say; a values file is the fence that names it."""
    values: Object = {}
    for file in options.get("values", []):
        (body,) = [body for body in fences("yaml") if body.startswith("# values") and file in body]
        values |= yaml.safe_load(body)
    for given in options.get("set", []):
        merge(values, helm_python.parse_set_string(given))
    return values


def merge(into: Object, other: Object) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def releases() -> Iterator[tuple[list[str], Object]]:
    """Every install and upgrade of the docs: [release, chart] and what was set so far."""
    so_far: dict[str, Object] = {}
    for words in commands():
        if words[0] == "helm" and words[1] in ("install", "upgrade"):
            positional, options = split(words[2:], _HELM[words[1]], _HELM_FLAGS)
            values = so_far.setdefault(positional[0], {})
            merge(values, values_of(options))
            yield [*positional, *options["namespace"]], dict(values)


def installed() -> dict[str, Rendered]:
    """The objects of each release, as they are at the end."""
    return {
        release: render(Path(chart).name, values, name=release, namespace=namespace)
        for (release, chart, namespace), values in releases()
    }


def test_there_are_commands_of_both_kinds() -> None:
    tools = [words[0] for words in commands()]
    assert set(tools) == {"helm", "kubectl", "kind", "podman"}
    assert len(tools) > 15


def test_every_helm_command_is_one_that_helm_has() -> None:
    for words in commands():
        if words[0] == "helm":
            assert words[1] in _HELM, words
            positional, _ = split(words[2:], _HELM[words[1]], _HELM_FLAGS)
            for chart in (p for p in positional if "/" in p):
                assert (ROOT / chart / "Chart.yaml").is_file(), words


def test_the_images_that_are_brought_into_a_cluster_are_those_that_the_charts_ask_for() -> None:
    asked = {
        container["image"]
        for chart in ("berth", "model")
        for _, template in render(chart).pods()
        for container in template["spec"]["containers"]
    } | {settings().workspace.runtime_image}
    loads = [words for words in commands() if words[0] in ("kind", "podman")]
    assert loads
    for words in loads:
        (known,) = [begin for begin in _LOADERS if tuple(words[: len(begin)]) == begin]
        named = [word for word in words[len(known) :] if word not in _LOADERS[known]]
        assert set(named) == (set() if known[-1] == "image-archive" else asked), words


def test_what_is_installed_in_the_docs_can_be_rendered() -> None:
    assert set(installed()) == {"berth", "pocket", "llama"}
    for release, found in installed().items():
        assert found.objects, release


def test_what_the_docs_ask_kubectl_about_is_there() -> None:
    """Names follow from the release; `service/pocket` must be a Service that was rendered."""
    there = {
        f"{item['kind'].lower()}/{item['metadata']['name']}"
        for found in installed().values()
        for item in found.objects
    }
    there.add("service/workspace-pocket")  # of the Workspace in the docs; the controller makes it
    for words in commands():
        if words[0] != "kubectl":
            continue
        assert words[1] in _KUBECTL, words
        positional, options = split(words[2:], _KUBECTL[words[1]], _KUBECTL_FLAGS)
        for name in (p for p in positional if "/" in p):
            assert name in there, words
        if positional[:1] == ["secret"] and words[1] == "get":
            assert f"secret/{positional[1]}" in there, words
        for file in options.get("filename", []):
            assert (ROOT / file).is_file(), words


def test_every_values_file_of_the_docs_is_accepted() -> None:
    found = [body for body in fences("yaml") if body.startswith("# values of charts/")]
    assert len(found) >= 5
    for body in found:
        chart = body.split("\n")[0].removeprefix("# values of charts/").partition(":")[0]
        assert render(chart, yaml.safe_load(body)).objects


def test_every_workspace_of_the_docs_is_accepted() -> None:
    found = [yaml.safe_load(body) for body in fences("yaml") if "kind: Workspace" in body]
    assert found
    for workspace in found:
        assert complaints(workspace) == ()
        example = yaml.safe_load((ROOT / "workspace-examples/pocket/pocket.yaml").read_text())
        assert workspace == example


def test_the_docs_refusal_is_what_berth_says(tmp_path: Path) -> None:
    (shown,) = (body for body in fences("text") if "cannot be placed" in body)
    with fake_api() as api:
        api.add_node("gpu-1")
        where = ["--kubeconfig", str(api.kubeconfig(tmp_path))]
        said = CliRunner().invoke(check, ["llama-2-70b-chat", "--gpus=4", *where])
    assert said.exit_code == 1
    assert shown.strip() in said.output


def test_the_table_of_rights_is_the_one_that_the_controller_uses() -> None:
    rows = re.findall(
        r"^\| (watched|secrets|cluster|provisioning|own|claim events)"
        r" \| (\S+) \| ([a-z, ]+) \| (.+) \|$",
        (ROOT / "docs" / "security.md").read_text(),
        re.MULTILINE,
    )
    told = [(scope, resource, tuple(verbs.split(", "))) for scope, resource, verbs, _ in rows]
    used = [
        (g.scope, g.resource + (f".{g.kind.group}" if g.kind.group else ""), g.verbs)
        for g in GRANTS
    ]
    assert sorted(told) == sorted(used)


def test_the_alerts_of_the_docs_are_those_of_the_chart() -> None:
    groups = yaml.safe_load((CHARTS / "berth" / "files" / "alerts.yaml").read_text())
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert (
        re.findall(r"^\| (Berth\w+) \|", (ROOT / "docs" / "helm.md").read_text(), re.MULTILINE)
        == alerts
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        if file:
            assert (page.parent / file).exists(), target
        else:
            assert anchor in anchors, target
