"""Whether the kernel ended a process because memory ran out: our control group's counters say it.

An engine shares its server's group, the container's in a pod. Both versions count the processes in
a group that were killed because memory ran out, at any limit: the container's, the pod's, the
machine's.
"""

from __future__ import annotations

from berth.limits.cgroups import Read, groups, read_file
from berth.limits.memory import memory


class OomCounter:
    """Processes here that the kernel has killed because memory ran out, since this was made."""

    def __init__(self, read: Read = read_file) -> None:
        self._read = read
        self._before = self._count()

    @property
    def known(self) -> bool:
        """Whether the kernel tells."""
        return self._before is not None

    def killed(self) -> bool:
        """Whether there was one."""
        now = self._count()
        return now is not None and self._before is not None and now > self._before

    def limit(self) -> int | None:
        """Bytes that the processes here may take together; None: all of the machine's."""
        found = memory(self._read)
        return found.total if found.limited else None

    def _count(self) -> int | None:
        for group in groups("memory", self._read):
            name = "memory.events" if group.version == 2 else "memory.oom_control"
            count = oom_kills(self._read(f"{group.folder}/{name}") or "")
            if count is not None:
                return count
        # The root group counts nothing; the kernel counts over the whole machine.
        return oom_kills(self._read("/proc/vmstat") or "")


def oom_kills(text: str) -> int | None:
    """The number of processes killed, of memory.events, memory.oom_control or /proc/vmstat."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdecimal():
            return int(value)
    return None
