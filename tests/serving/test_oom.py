"""What the kernel's counters say of a process that it killed for want of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from berth.serving.oom import OomCounter, cgroup_paths, oom_kills

EVENTS = "low 0\nhigh 3\nmax 41\noom 2\noom_kill {}\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
VMSTAT = "pgfault 12\noom_kill {}\nnuma_hit 9\n"


@pytest.mark.parametrize("text", [EVENTS, CONTROL, VMSTAT])
def test_each_of_the_kernels_files_is_read(text: str) -> None:
    assert oom_kills(text.format(7)) == 7


@pytest.mark.parametrize(
    "text", ["", "oom 2\n", "oom_kill\n", "oom_kill x\n", "oom_kill_disable 0\n"]
)
def test_a_file_that_does_not_tell_tells_nothing(text: str) -> None:
    assert oom_kills(text) is None


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("0::/kubepods/pod1/c1\n", (None, "/kubepods/pod1/c1")),
        ("4:memory:/docker/c1\n0::/\n", ("/docker/c1", "/")),
        ("9:cpu,memory:/a:b\n1:name=systemd:/x\n", ("/a:b", None)),
        ("", (None, None)),
    ],
)
def test_the_paths_of_both_versions_are_found(
    text: str, paths: tuple[str | None, str | None]
) -> None:
    assert cgroup_paths(text) == paths


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


# A container with a namespace of its own; one that is told the host's path; a process on a host;
# v1 in a container and on a host, and a machine that has no memory cgroup for us.
PLACES = [
    ("0::/\n", "sys/fs/cgroup/memory.events", EVENTS, "sys/fs/cgroup/memory.max"),
    ("0::/kubepods/x\n", "sys/fs/cgroup/memory.events", EVENTS, "sys/fs/cgroup/memory.max"),
    ("0::/a\n", "sys/fs/cgroup/a/memory.events", EVENTS, "sys/fs/cgroup/a/memory.max"),
    (
        "4:memory:/docker/x\n0::/\n",
        "sys/fs/cgroup/memory/memory.oom_control",
        CONTROL,
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
    ),
    (
        "4:memory:/a\n",
        "sys/fs/cgroup/memory/a/memory.oom_control",
        CONTROL,
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes",
    ),
]


@pytest.mark.parametrize(("own", "counter", "text", "limit"), PLACES)
def test_a_kill_is_seen_from_where_the_counter_stood(
    own: str, counter: str, text: str, limit: str, tmp_path: Path
) -> None:
    write(tmp_path, {"proc/self/cgroup": own, counter: text.format(3), limit: "2147483648\n"})
    oom = OomCounter(tmp_path)
    assert oom.known
    assert not oom.killed()
    assert oom.limit() == 2**31
    write(tmp_path, {counter: text.format(4)})
    assert oom.killed()
    oom.reset()
    assert not oom.killed()


@pytest.mark.parametrize("said", ["max\n", f"{2**63 - 4096}\n"])
def test_no_limit_is_no_number(said: str, tmp_path: Path) -> None:
    own, counter, text, limit = PLACES[-1]
    write(tmp_path, {"proc/self/cgroup": own, counter: text.format(0), limit: said})
    assert OomCounter(tmp_path).limit() is None


def test_without_a_memory_cgroup_the_machines_counter_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "proc/vmstat": VMSTAT.format(0)})
    oom = OomCounter(tmp_path)
    write(tmp_path, {"proc/vmstat": VMSTAT.format(1)})
    assert oom.killed()


def test_where_the_kernel_tells_nothing_nothing_is_claimed(tmp_path: Path) -> None:
    oom = OomCounter(tmp_path)
    assert not oom.known
    assert not oom.killed()
    assert oom.limit() is None
