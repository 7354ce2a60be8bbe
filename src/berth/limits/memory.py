"""How much memory this process may have, and how much of it is still free."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from berth.limits.cgroups import Read, groups, read_file

# A group without a limit reports the largest number of whole pages that fits 63 bits.
_NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    total: int  # of the machine, or of the smallest control group
    free: int  # the least that any of them has
    limit_file: str = ""  # the smallest group's; "": the machine's own memory is what limits

    @property
    def limited(self) -> bool:
        """Whether it is a control group (a pod, a container) that limits, not the machine."""
        return bool(self.limit_file)


def memory(read: Read = read_file) -> Memory:
    """Of this process: what leaves least of the machine and of its control groups counts.

    What the page cache holds counts as free: the kernel gives it back when asked for memory.
    """
    sizes = _sizes(read("/proc/meminfo") or "", ":")
    machine = sizes.get("MemTotal", _NO_LIMIT // 1024) * 1024
    total, file = machine, ""
    free = sizes.get("MemAvailable", sizes.get("MemFree", machine // 1024)) * 1024
    for group in groups("memory", read):
        v2 = group.version == 2
        name = f"{group.folder}/memory.{'max' if v2 else 'limit_in_bytes'}"
        limit = _number(read(name))
        used = _number(read(f"{group.folder}/memory.{'current' if v2 else 'usage_in_bytes'}"))
        if limit is None or limit >= machine:
            continue
        stat = _sizes(read(f"{group.folder}/memory.stat") or "", " ")
        prefix = "" if v2 else "total_"
        cached = stat.get(f"{prefix}inactive_file", 0) + stat.get(f"{prefix}active_file", 0)
        free = min(free, max(0, limit - max(0, (used or 0) - cached)))
        if limit < total:
            total, file = limit, name
    return Memory(total, free, file)


def mapped_file_bytes(read: Read = read_file) -> int:
    """Pages of files that this process has mapped and looked at."""
    return _sizes(read("/proc/self/status") or "", ":").get("RssFile", 0) * 1024


def give_back() -> None:
    """Let the kernel have what was freed and glibc keeps for later.

    After something large was made of many small pieces or read through large buffers: what the
    process takes from then on does not refill the holes. Loading 0.6 GB of weights leaves 60 MB.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # another C library has none
    if trim is not None:
        trim(0)


def _number(text: str | None) -> int | None:
    """None for "max" too."""
    try:
        return int(text or "")
    except ValueError:
        return None


def _sizes(text: str, separator: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(separator)
        number = _number((rest.split() or [""])[0])
        if number is not None:
            found[name] = number
    return found
