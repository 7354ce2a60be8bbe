"""The pages of the docs, and the commands in their fences."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from e2e.berth_server import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "presets").glob("*/README.md"))
_FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def fences(page: Path) -> list[tuple[str, str]]:
    return [(kind, body.strip()) for kind, body in _FENCE.findall(page.read_text())]


def commands() -> list[tuple[str, str]]:
    """(page, command), lines that end in a backslash joined."""
    found = []
    for page in PAGES:
        for kind, body in fences(page):
            if kind == "sh":
                whole = body.replace("\\\n", " ")
                lines = [line.strip() for line in whole.splitlines()]
                found += [
                    (str(page.relative_to(ROOT)), line)
                    for line in lines
                    if line and not line.startswith("#")
                ]
    return found


def berth_arguments(command: str) -> list[str] | None:
    """What follows `berth` in a command line, environment settings before it left out."""
    words = shlex.split(command)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    return words[1:] if words and words[0].removeprefix(".venv/bin/") == "berth" else None


def container_words(command: str) -> list[str]:
    """The words of a docker command, settings before it left out; none where it is another one."""
    words = shlex.split(command)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    return words if words and words[0] in ("docker", "podman", "buildah") else []
