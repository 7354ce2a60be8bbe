"""A machine's /proc and /sys, as texts by path: what the readers of limits are given."""

from __future__ import annotations

from berth.limits.cgroups import Read

GIB = 2**30


def files(texts: dict[str, str]) -> Read:
    """A file that is not among them cannot be read."""
    return texts.get


def v2(place: str = "/", root: str = "/", point: str = "/sys/fs/cgroup") -> dict[str, str]:
    """The unified hierarchy; a container usually sees its own group as /."""
    return {
        "/proc/self/cgroup": f"0::{place}\n",
        "/proc/self/mountinfo": (
            "22 1 0:21 / /proc rw,nosuid - proc proc rw\n"
            f"31 22 0:27 {root} {point} ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"
        ),
    }


def v1(place: str, root: str = "/") -> dict[str, str]:
    """A tree for each controller, as Docker mounts them on an older host."""
    return {
        "/proc/self/cgroup": (
            f"12:memory:{place}\n4:cpu,cpuacct:{place}\n3:cpuset:/other\n1:name=systemd:{place}\n"
        ),
        "/proc/self/mountinfo": (
            f"40 31 0:35 {root} /sys/fs/cgroup/systemd ro - cgroup cgroup rw,name=systemd\n"
            f"41 31 0:36 {root} /sys/fs/cgroup/cpu,cpuacct ro shared:9 - "
            "cgroup cgroup rw,cpu,cpuacct\n"
            f"42 31 0:37 {root} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        ),
    }


def hybrid(place: str) -> dict[str, str]:
    """systemd's: controllers in version 1's trees, and an empty tree of version 2 beside them."""
    one = v1(place)
    return {
        "/proc/self/cgroup": one["/proc/self/cgroup"] + f"0::{place}\n",
        "/proc/self/mountinfo": one["/proc/self/mountinfo"]
        + "39 31 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    }


def meminfo(total: int, available: int) -> dict[str, str]:
    """/proc/meminfo, of bytes."""
    return {
        "/proc/meminfo": (
            f"MemTotal:       {total // 1024} kB\nMemFree:          100 kB\n"
            f"MemAvailable:   {available // 1024} kB\nHugePages_Total:       0\n"
        )
    }
