"""The tools that build images: finding one that works, and its command lines.

Nothing that a tool prints for people is parsed: it is asked by exit status, or for one value that
its documented template or JSON gives.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

ToolName = Literal["docker", "podman", "buildah"]
TOOLS: tuple[ToolName, ...] = get_args(ToolName)
_SECONDS = 30  # for a question; a daemon that is asked over a network may be slow
_INSTALL = (
    "install one: docker (docs.docker.com/engine/install), or `apt-get install buildah podman` "
    "on Debian and Ubuntu"
)


class ToolError(Exception):
    """No tool can build; the message is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that answered."""

    name: ToolName
    store: Path | None = None  # folder of its images on this machine; None: elsewhere, or unknown
    notes: tuple[str, ...] = ()  # why an earlier one in the order was passed over

    @property
    def runner(self) -> str:
        """The tool that runs what this one built: buildah's images are podman's."""
        return "podman" if self.name == "buildah" else self.name


def find_tool(wanted: ToolName | None = None) -> Tool:
    """The tool that was asked for, else the first of docker, podman and buildah that works.

    Raises:
        ToolError: there is none, or none that works.
    """
    if wanted is not None:
        if (complaint := _complaint(wanted)) is not None:
            raise ToolError(complaint)
        return Tool(wanted, _store(wanted))
    complaints: list[str] = []
    for name in TOOLS:
        if shutil.which(name) is None:
            continue
        complaint = _complaint(name)
        if complaint is None:
            return Tool(name, _store(name), tuple(complaints))
        complaints.append(complaint)
    if complaints:
        raise ToolError("; ".join(complaints))
    raise ToolError(f"neither docker nor podman nor buildah is on PATH; {_INSTALL}")


def takes_contexts(tool: Tool) -> bool:
    """Whether it knows --build-context, which weights outside of the repository need."""
    # Docker's own builder has no such option: only the buildx plugin has.
    return tool.name != "docker" or _ask(["docker", "buildx", "version"]) is not None


def _complaint(name: ToolName) -> str | None:
    """Why it cannot build; None if it can."""
    if shutil.which(name) is None:
        return f"{name} is not on PATH; {_INSTALL}"
    # `docker version` fails without its daemon (`docker info` need not); the others have none.
    question = ["version", "--format", "{{.Server.Version}}"] if name == "docker" else ["version"]
    if _ask([name, *question]) is not None:
        return None
    if name == "docker":
        return (
            "docker is here, but its daemon does not answer: start it (systemctl start docker, or "
            "Docker Desktop), see that DOCKER_HOST is right and that this user may use it, or "
            "install buildah, which needs no daemon"
        )
    return f"{name} is here, but `{name} version` fails; run it to see why"


def _store(name: ToolName) -> Path | None:
    """Where its images lie, if that is a folder of this machine."""
    if name == "docker":
        answer = _ask(["docker", "info", "--format", "{{.DockerRootDir}}"])
        folder = None if answer is None else answer.strip()
    else:
        folder = _graph_root(_ask([name, "info", *_AS_JSON[name]]))
    return Path(folder) if folder and Path(folder).is_dir() else None


_AS_JSON: dict[ToolName, list[str]] = {"podman": ["--format", "json"], "buildah": []}


def _graph_root(answer: str | None) -> str | None:
    """podman says store.graphRoot, buildah store.GraphRoot."""
    try:
        store = json.loads(answer or "null")["store"]
        root = store.get("graphRoot") or store.get("GraphRoot")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return root if isinstance(root, str) else None


def _ask(command: Sequence[str]) -> str | None:
    """What it prints; None if it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
