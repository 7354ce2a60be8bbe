"""What memory a process may have, and what of it is left, with and without control groups."""

from __future__ import annotations

import subprocess
import sys

import pytest

from berth.limits.memory import Memory, memory
from limits.files import GIB, files, meminfo, v1, v2
from limits.real_group import memory_group

ROOT = "/sys/fs/cgroup"
HOST = meminfo(64 * GIB, 40 * GIB)


def group2(folder: str, limit: object, used: int, cached: int = 0) -> dict[str, str]:
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached}\nactive_file 0\n",
    }


def test_without_a_group_the_machine_limits() -> None:
    found = memory(files(HOST))
    assert found == Memory(64 * GIB, 40 * GIB)
    assert not found.limited


def test_a_pods_limit_is_the_total() -> None:
    found = memory(files(HOST | v2() | group2(ROOT, 4 * GIB, GIB)))
    assert found == Memory(4 * GIB, 3 * GIB, f"{ROOT}/memory.max")
    assert found.limited


def test_page_cache_counts_as_free() -> None:
    """A model's file that was read is in its pod's page cache, and taken for used otherwise."""
    found = memory(files(HOST | v2() | group2(ROOT, 4 * GIB, 3 * GIB, cached=2 * GIB)))
    assert found.free == 3 * GIB


def test_the_machine_may_have_less_left_than_the_pod() -> None:
    host = meminfo(64 * GIB, 2 * GIB)
    assert memory(files(host | v2() | group2(ROOT, 8 * GIB, 0))).free == 2 * GIB


@pytest.mark.parametrize("limit", ["max", str(80 * GIB), "9223372036854771712", "nonsense"])
def test_what_is_no_limit_limits_nothing(limit: str) -> None:
    assert memory(files(HOST | v2() | group2(ROOT, limit, GIB))) == Memory(64 * GIB, 40 * GIB)


def test_groups_above_count_too() -> None:
    """The pod's group may hold more than one container."""
    texts = HOST | v2("/pod/c") | group2(f"{ROOT}/pod/c", 8 * GIB, GIB)
    texts |= group2(f"{ROOT}/pod", 10 * GIB, 9 * GIB)
    found = memory(files(texts))
    assert found == Memory(8 * GIB, GIB, f"{ROOT}/pod/c/memory.max")


def test_version_1_counts_its_page_cache_by_another_name() -> None:
    folder = f"{ROOT}/memory/pod"
    texts = (
        HOST
        | v1("/pod")
        | {
            f"{folder}/memory.limit_in_bytes": str(2 * GIB),
            f"{folder}/memory.usage_in_bytes": str(GIB),
            f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}\n"
            f"total_active_file {GIB // 4}\n",
            f"{ROOT}/memory/memory.limit_in_bytes": "9223372036854771712",
            f"{ROOT}/memory/memory.usage_in_bytes": str(30 * GIB),
        }
    )
    assert memory(files(texts)) == Memory(2 * GIB, 3 * GIB // 2, f"{folder}/memory.limit_in_bytes")


def test_a_group_that_uses_more_than_its_limit_leaves_nothing() -> None:
    assert memory(files(HOST | v2() | group2(ROOT, GIB, 2 * GIB))).free == 0


def test_files_that_cannot_be_read_limit_nothing() -> None:
    texts = HOST | v2() | {f"{ROOT}/memory.max": str(GIB)}  # how much is used is not to be seen
    assert memory(files(texts)) == Memory(GIB, GIB, f"{ROOT}/memory.max")
    assert memory(files({})).total > 2**60


def test_this_machine_has_memory() -> None:
    found = memory()
    assert 0 < found.free <= found.total < 2**50


def test_the_kernels_own_limit_is_read() -> None:
    script = (
        "from berth.limits.memory import memory; data = b'x' * (64 << 20); m = memory();"
        "print(m.total, m.free, m.limit_file)"
    )
    with memory_group(GIB) as group:
        done = subprocess.run(
            group.command(sys.executable, "-c", script), capture_output=True, text=True, check=True
        )
    total, free, file = done.stdout.split()
    assert int(total) == GIB
    assert GIB - (128 << 20) < int(free) < GIB - (64 << 20)
    assert file.startswith(str(group.folder))


def test_what_was_freed_goes_back_to_the_kernel() -> None:
    script = (
        "from berth.limits.memory import give_back\n"
        "def resident():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(l.split()[1]) for l in lines if l.startswith('RssAnon'))\n"
        "pieces = [bytes(1000) for _ in range(100_000)]\n"
        "pieces = pieces[-1:]\n"  # holds the heap's end
        "held = resident(); give_back(); print(held - resident())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 80_000  # of 100,000 KiB
