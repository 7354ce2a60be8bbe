"""The forge's CI files call what exists, may do no more than they must, and run pinned actions."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from berth.cli.main import main
from e2e.berth_server import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
# What publishing needs; everything else only reads.
_MAY_WRITE = {"packages", "id-token", "attestations"}


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["jobs"]
    return found


def scripts(file: Path) -> list[str]:
    """Every shell line, those that end in a backslash joined."""
    runs = [s["run"] for job in jobs(file).values() for s in job["steps"] if "run" in s]
    return [line.strip() for run in runs for line in run.replace("\\\n", " ").splitlines()]


def test_there_are_workflows() -> None:
    assert [file.stem for file in FILES] == ["chart", "images", "test"]


@pytest.mark.parametrize(
    "schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
)
def test_they_are_what_the_forge_understands(schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    done = subprocess.run([*command, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_make_target_exists(file: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = [
        word
        for line in scripts(file)
        if (match := re.search(r"\bmake (.*)", line))
        for word in shlex.split(match[1])
        if "=" not in word
    ]
    assert called
    assert set(called) <= set(targets)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_berths_commands_and_options_are_understood(file: Path) -> None:
    for line in scripts(file):
        words = line.split(" > ")[0]
        if ".venv/bin/berth " in words:
            name, *arguments = shlex.split(words.partition(".venv/bin/berth ")[2])
            command = main.get_command(click.Context(main), name)
            assert command is not None, line
            command.make_context(name, arguments)
        if match := re.search(r'OPTIONS="([^"]*)"', line):
            build = main.get_command(click.Context(main), "build")
            assert build is not None
            known = {option for parameter in build.params for option in parameter.opts}
            given = [word for word in match[1].split() if word.startswith("--")]
            assert set(given) <= known, line


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_action_is_pinned_by_its_commit_with_the_version_beside(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text())
    assert used
    for line in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_workflow_may_write_only_what_publishing_needs(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        writes = {what for what, may in job.get("permissions", {}).items() if may == "write"}
        assert writes <= _MAY_WRITE, name
        on_pull_requests = "pull_request" in workflow[True] and "if" not in job  # `on`, in YAML
        assert not (writes and on_pull_requests), name
        checkouts = [s for s in job["steps"] if "checkout" in s.get("uses", "")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_every_secret_is_documented_and_none_is_a_key() -> None:
    page = (ROOT / "docs" / "images.md").read_text()
    named = {name for file in FILES for name in re.findall(r"secrets\.(\w+)", file.read_text())}
    assert named == {"GITHUB_TOKEN"}  # the forge's own, of one run: nothing to set up
    assert all(f"`{name}`" in page for name in named)


def test_no_script_is_put_together_from_what_strangers_write() -> None:
    """A branch's or an input's text reaches a shell through its environment alone."""
    for file in FILES:
        for line in scripts(file):
            assert "${{" not in line.replace("{{index .RepoDigests 0}}", ""), f"{file.name}: {line}"
