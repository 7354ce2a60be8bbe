"""Did the kernel end a process for want of memory? By the counters of our memory cgroup.

An engine shares its server's cgroup, the container's in a pod. Both versions of cgroups count the
processes in it that the kernel has killed because memory ran out, at whichever limit: the
container's, the pod's, the machine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# v1 says "no limit" by a number near 2**63.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True)
class _Files:
    """Where one version of cgroups keeps what we ask for, in a cgroup's folder."""

    kills: str
    limit: str


_V1 = _Files("memory.oom_control", "memory.limit_in_bytes")
_V2 = _Files("memory.events", "memory.max")


class OomCounter:
    """The memory cgroup of this process, where it can be seen."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Args: `root` is that of the file system; another one in tests."""
        self._root = root
        self._places = list(_places(root))
        self._before = self._count()

    def reset(self) -> None:
        """Count from now on."""
        self._before = self._count()

    @property
    def known(self) -> bool:
        """Whether the kernel tells."""
        return self._before is not None

    def killed(self) -> bool:
        """Whether the kernel has killed a process here for want of memory since the reset."""
        now = self._count()
        return now is not None and self._before is not None and now > self._before

    def limit(self) -> int | None:
        """Bytes that the processes here may take, the least over the cgroups that can be seen."""
        limits = []
        for folder, files in self._places:
            text = _read(folder / files.limit).strip()
            if text.isdecimal() and int(text) < _NO_LIMIT:
                limits.append(int(text))
        return min(limits, default=None)

    def _count(self) -> int | None:
        for folder, files in self._places:
            count = oom_kills(_read(folder / files.kills))
            if count is not None:
                return count
        # The root cgroup counts nothing; the kernel counts over the whole machine.
        return oom_kills(_read(self._root / "proc/vmstat"))


def oom_kills(text: str) -> int | None:
    """The number of processes killed, of memory.events, memory.oom_control or /proc/vmstat."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdecimal():
            return int(value)
    return None


def cgroup_paths(text: str) -> tuple[str | None, str | None]:
    """Of /proc/self/cgroup: the path under v1's memory controller, and under v2."""
    first = second = None
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            first = path
        elif number == "0" and not controllers:
            second = path
    return first, second


def _places(root: Path) -> list[tuple[Path, _Files]]:
    """Folders to look into, the nearest first.

    In a container the path that the kernel tells may be the host's, while the container's own
    cgroup is mounted as the root: so each path is tried, then the mount itself.
    """
    first, second = cgroup_paths(_read(root / "proc/self/cgroup"))
    mount = root / "sys/fs/cgroup"
    places: list[tuple[Path, _Files]] = []
    for files, base, path in ((_V1, mount / "memory", first), (_V2, mount, second)):
        if path is None:
            continue
        for folder in dict.fromkeys((base / path.lstrip("/"), base)):
            if (folder / files.kills).is_file():
                places.append((folder, files))
    return places


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
