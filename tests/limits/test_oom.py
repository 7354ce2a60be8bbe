"""What the kernel's counters say of a process that it killed for want of memory."""

from __future__ import annotations

import pytest

from berth.limits.oom import OomCounter, oom_kills
from limits.files import GIB, files, hybrid, meminfo, v1, v2

EVENTS = "low 0\nhigh 3\nmax 41\noom 2\noom_kill {}\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
VMSTAT = "pgfault 12\noom_kill {}\nnuma_hit 9\n"
HOST = meminfo(64 * GIB, 40 * GIB)


@pytest.mark.parametrize("text", [EVENTS, CONTROL, VMSTAT])
def test_each_of_the_kernels_files_is_read(text: str) -> None:
    assert oom_kills(text.format(7)) == 7


@pytest.mark.parametrize(
    "text", ["", "oom 2\n", "oom_kill\n", "oom_kill x\n", "oom_kill_disable 0\n"]
)
def test_a_file_that_does_not_tell_tells_nothing(text: str) -> None:
    assert oom_kills(text) is None


MEMORY = "/sys/fs/cgroup/memory"
PLACES = [
    pytest.param(v2(), "/sys/fs/cgroup/memory.events", EVENTS, id="container"),
    pytest.param(v2("/a/b"), "/sys/fs/cgroup/a/b/memory.events", EVENTS, id="host"),
    pytest.param(v1("/a"), f"{MEMORY}/a/memory.oom_control", CONTROL, id="version-1-host"),
    pytest.param(
        v1("/docker/x", "/docker/x"), f"{MEMORY}/memory.oom_control", CONTROL, id="version-1"
    ),
    pytest.param(hybrid("/a"), f"{MEMORY}/a/memory.oom_control", CONTROL, id="hybrid"),
]


@pytest.mark.parametrize(("machine", "counter", "text"), PLACES)
def test_a_kill_is_seen_from_where_the_counter_stood(
    machine: dict[str, str], counter: str, text: str
) -> None:
    texts = HOST | machine | {counter: text.format(3), "/proc/vmstat": VMSTAT.format(9)}
    oom = OomCounter(files(texts))
    assert oom.known
    assert not oom.killed()
    texts["/proc/vmstat"] = VMSTAT.format(10)  # elsewhere on the machine
    assert not oom.killed()
    texts[counter] = text.format(4)
    assert oom.killed()


def test_the_narrowest_limit_is_told() -> None:
    texts = HOST | v2("/pod/c") | {"/sys/fs/cgroup/pod/c/memory.max": f"{2 * GIB}\n"}
    assert OomCounter(files(texts)).limit() == 2 * GIB
    assert OomCounter(files(HOST | v2("/pod/c"))).limit() is None


def test_without_a_group_of_our_own_the_machines_counter_is_read() -> None:
    texts = HOST | v2() | {"/proc/vmstat": VMSTAT.format(0)}
    oom = OomCounter(files(texts))
    texts["/proc/vmstat"] = VMSTAT.format(1)
    assert oom.killed()


def test_where_the_kernel_tells_nothing_nothing_is_claimed() -> None:
    oom = OomCounter(files({}))
    assert not oom.known
    assert not oom.killed()
    assert oom.limit() is None
