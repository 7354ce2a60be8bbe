"""CPU time of other processes, from /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, all its living threads and none of its children.

    By the scheduler's own clock where the kernel shows it: `stat` counts in ticks of 10 ms, and a
    stream of 128 tokens costs a server about four.

    Raises:
        OSError: there is no such process.
    """
    process = Path(f"/proc/{pid}")
    if not (process / "schedstat").exists():
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / _TICKS
    nanoseconds = 0
    for thread in (process / "task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            nanoseconds += int((thread / "schedstat").read_bytes().split()[0])
    return nanoseconds / 1e9


def family_cpu_seconds(pid: int) -> float:
    """The same for a process and its living descendants."""
    total = 0.0
    for member in family(pid):
        try:
            total += cpu_seconds(member)
        except OSError:
            continue
    return total


def family(pid: int) -> set[int]:
    """A process and its living descendants."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:  # ended meanwhile
                continue
    members = {pid}
    while grown := {child for child, parent in parents.items() if parent in members} - members:
        members |= grown
    return members


def resident_bytes(pid: int) -> int:
    """Resident memory of one process, what it shares with others included. Raises OSError."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0  # dead and not buried


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may hold spaces: state is the first."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
