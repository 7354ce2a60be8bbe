"""Where the limits of this process's control groups are written: its own group's, and all above it.

A container sees either its own group as the root of a mount, or the host's whole tree. Version 1
mounts a tree for each controller, version 2 one for all, and a host may have both. /proc shows
which: `mountinfo` lists the mounts, `cgroup` this process's place in each tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Read = Callable[[str], str | None]  # a file's text; None if it cannot be read
Version = Literal[1, 2]

_MOUNTS, _GROUPS = "/proc/self/mountinfo", "/proc/self/cgroup"
# mount(8) writes these characters so in mountinfo; see proc(5).
_ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


def read_file(path: str) -> str | None:
    """The real Read."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class Group:
    """A control group whose limits hold for this process."""

    version: Version
    folder: str


def groups(controller: str, read: Read = read_file) -> list[Group]:
    """The groups that this process is in, by `controller` ("cpu", "memory"): its own, and those
    above it, as far as they can be seen. None if nothing is mounted or /proc says nothing.
    """
    places = _places(read(_GROUPS) or "")
    found: list[Group] = []
    for version, root, point, controllers in _mounts(read(_MOUNTS) or ""):
        place = places.get("" if version == 2 else controller)
        if place is None or (version == 1 and controller not in controllers):
            continue
        folder = point + _below(root, place)
        while True:
            found.append(Group(version, folder))
            if len(folder) <= len(point):
                break
            folder = folder.rpartition("/")[0]
    return list(dict.fromkeys(found))


def _places(text: str) -> dict[str, str]:
    """Where in each tree this process is: by controller; version 2's tree is ""."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, first, rest = line.partition(":")
        controllers, second, place = rest.partition(":")
        if first and second:
            found |= dict.fromkeys(controllers.split(","), place)
    return found


def _mounts(text: str) -> list[tuple[Version, str, str, list[str]]]:
    """Of each mounted tree: its version, which part of it is mounted, where, and controllers."""
    found: list[tuple[Version, str, str, list[str]]] = []
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        mounted, kind = mount.split(), system.split()
        if len(mounted) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        root, point = _plain(mounted[3]), _plain(mounted[4]).rstrip("/")
        found.append((2 if kind[0] == "cgroup2" else 1, root, point, kind[2].split(",")))
    return found


def _plain(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def _below(root: str, place: str) -> str:
    """The path from a mount's root to a place in the tree; "" if it is not below it.

    "/.." at its beginning: the process was moved out of its namespace's root, and its own group is
    not to be seen.
    """
    root = root.rstrip("/")
    if place != root and not place.startswith(f"{root}/"):
        return ""
    rest = place[len(root) :].rstrip("/")
    return "" if rest.startswith("/..") else rest
