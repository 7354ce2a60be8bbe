"""How many CPUs this process may use, and how many threads are best on them.

Threads that compute a step meet at a barrier after each of its operations. If there are more of
them than CPU time, the kernel stops all of them until its next period, and those that came first
burn what is left by waiting: a pod with half a CPU and two threads is half as fast as with one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from berth.limits.cgroups import Read, groups, read_file


@dataclass(frozen=True, slots=True)
class Cpus:
    """What limits this process."""

    allowed: int  # CPUs that it may run on: of the machine, a cpuset or taskset
    quota: float | None = None  # CPUs' worth of time that its control groups give it; None: all
    quota_file: str = ""  # which of them does

    def threads(self, ranks: int = 1) -> int:
        """Threads for each of `ranks` processes that compute together on these CPUs.

        Part of a CPU counts from a half on. Measured with a quota of 1.5 CPUs: two threads are 25
        to 35 % faster than one on a model of 0.13 billion parameters, as fast on one that fits the
        CPU's caches; with 1.25 and less they are as fast at most, and stand still for longer.
        """
        allowed = self.allowed // ranks
        if self.quota is None:
            return max(1, allowed)
        return max(1, min(allowed, int(self.quota / ranks + 0.5)))

    def explain(self, ranks: int = 1) -> str:
        """Why so many, for a log."""
        if self.quota is not None:
            unit = "CPU" if self.quota == 1 else "CPUs"
            why = f"a limit of {self.quota:g} {unit} ({self.quota_file}) on {self.allowed}"
        else:
            why = f"{self.allowed} CPU{'' if self.allowed == 1 else 's'} may be used"
        return why if ranks == 1 else f"{why}, shared by {ranks} ranks"


def cpus(read: Read = read_file, allowed: int | None = None) -> Cpus:
    """Of this process; the narrowest of its control groups counts.

    Args:
        allowed: the CPUs of the affinity mask, in which a cpuset shows itself; asked for if None.
    """
    if allowed is None:
        allowed = available_cpus()
    narrowest: tuple[float, str] | None = None
    for group in groups("cpu", read):
        name, quota = _quota(group.version, group.folder, read)
        if quota is not None and (narrowest is None or quota < narrowest[0]):
            narrowest = quota, name
    if narrowest is None or narrowest[0] >= allowed:
        return Cpus(allowed)
    return Cpus(allowed, *narrowest)


def available_cpus() -> int:
    """By the affinity mask; all of the machine's if the system keeps none."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(version: int, folder: str, read: Read) -> tuple[str, float | None]:
    """A group's file and the CPUs that it gives; None: no limit of its own, or not readable."""
    if version == 2:
        name = f"{folder}/cpu.max"
        quota, _, period = (read(name) or "").strip().partition(" ")
        return name, _ratio(quota, period or "100000")
    name = f"{folder}/cpu.cfs_quota_us"
    return name, _ratio(read(name) or "", read(f"{folder}/cpu.cfs_period_us") or "")


def _ratio(quota: str, period: str) -> float | None:
    """Version 1 writes -1 for no limit, version 2 "max"."""
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None
