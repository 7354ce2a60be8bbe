"""Threads follow the CPU time that a pod or container really gets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.limits.cpus import Cpus, cpus
from limits.files import files, hybrid, v1, v2
from limits.real_group import cpu_group

ROOT = "/sys/fs/cgroup"
V1 = f"{ROOT}/cpu,cpuacct"


def test_without_a_limit_every_cpu_of_the_mask_has_a_thread() -> None:
    found = cpus(files({}), allowed=6)
    assert found == Cpus(6)
    assert found.threads() == 6
    assert found.explain() == "6 CPUs may be used"


@pytest.mark.parametrize("text", ["max 100000\n", "max\n", "", "garbage", "-5 100000", "0 100000",
                                  "100000 0"])  # fmt: skip
def test_what_is_no_limit_limits_nothing(text: str) -> None:
    assert cpus(files(v2() | {f"{ROOT}/cpu.max": text}), allowed=6).threads() == 6


def test_a_pods_limit_on_a_large_node_gives_as_many_threads() -> None:
    found = cpus(files(v2() | {f"{ROOT}/cpu.max": "200000 100000\n"}), allowed=64)
    assert found.threads() == 2
    assert found.explain() == f"a limit of 2 CPUs ({ROOT}/cpu.max) on 64"
    assert Cpus(64, 1.0, "f").explain() == "a limit of 1 CPU (f) on 64"
    assert Cpus(2, 1.5, "f").explain(2) == "a limit of 1.5 CPUs (f) on 2, shared by 2 ranks"
    assert Cpus(1).explain() == "1 CPU may be used"


@pytest.mark.parametrize(
    ("quota", "threads"),
    [
        ("1000 100000", 1), ("25000 100000", 1), ("50000 100000", 1), ("100000 100000", 1),
        ("125000 100000", 1), ("149999 100000", 1), ("150000 100000", 2), ("175000 100000", 2),
        ("240000 100000", 2), ("250000 100000", 3), ("150000 50000", 3), ("40000", 1),
    ],
)  # fmt: skip
def test_part_of_a_cpu_counts_from_a_half_on(quota: str, threads: int) -> None:
    assert cpus(files(v2() | {f"{ROOT}/cpu.max": quota}), allowed=8).threads() == threads


def test_the_narrowest_group_above_counts() -> None:
    texts = v2("/a/b/c") | {
        f"{ROOT}/a/b/c/cpu.max": "max 100000",
        f"{ROOT}/a/b/cpu.max": "300000 100000",
        f"{ROOT}/a/cpu.max": "400000 100000",
    }
    found = cpus(files(texts), allowed=16)
    assert found == Cpus(16, 3.0, f"{ROOT}/a/b/cpu.max")


def test_version_1_says_it_in_two_files() -> None:
    texts = v1("/pod") | {
        f"{V1}/pod/cpu.cfs_quota_us": "150000\n",
        f"{V1}/pod/cpu.cfs_period_us": "50000\n",
        f"{V1}/cpu.cfs_quota_us": "-1\n",
        f"{V1}/cpu.cfs_period_us": "100000\n",
    }
    assert cpus(files(texts), allowed=16) == Cpus(16, 3.0, f"{V1}/pod/cpu.cfs_quota_us")
    del texts[f"{V1}/pod/cpu.cfs_period_us"]
    assert cpus(files(texts), allowed=16) == Cpus(16)


def test_a_hybrid_host_limits_in_either_tree() -> None:
    one = hybrid("/pod") | {
        f"{V1}/pod/cpu.cfs_quota_us": "200000",
        f"{V1}/pod/cpu.cfs_period_us": "100000",
    }
    assert cpus(files(one), allowed=16).quota == 2.0
    two = one | {f"{ROOT}/unified/pod/cpu.max": "100000 100000"}
    assert cpus(files(two), allowed=16).quota == 1.0


def test_a_cpuset_narrower_than_the_quota_counts() -> None:
    found = cpus(files(v2() | {f"{ROOT}/cpu.max": "800000 100000"}), allowed=4)
    assert found.threads() == 4
    assert found.explain() == "4 CPUs may be used"


@pytest.mark.parametrize(
    ("quota", "ranks", "threads"), [(4.0, 2, 2), (3.0, 2, 2), (2.5, 2, 1), (1.0, 4, 1)]
)
def test_ranks_share_the_quota(quota: float, ranks: int, threads: int) -> None:
    assert Cpus(64, quota, "f").threads(ranks) == threads


def test_ranks_share_the_cpus() -> None:
    assert Cpus(6).threads(4) == 1
    assert Cpus(6).threads(2) == 3
    assert Cpus(2).threads(3) == 1
    assert Cpus(6).explain(2) == "6 CPUs may be used, shared by 2 ranks"


@given(st.integers(1, 1024), st.none() | st.floats(0.001, 2048), st.integers(1, 64))
def test_never_none_and_never_more_than_there_are(
    allowed: int, quota: float | None, ranks: int
) -> None:
    threads = Cpus(allowed, quota, "f").threads(ranks)
    assert 1 <= threads <= max(1, allowed // ranks)
    if quota is not None and threads > 1:
        assert threads * ranks <= quota + ranks / 2


def test_this_machine_has_a_cpu() -> None:
    assert 1 <= cpus().threads() <= len(os.sched_getaffinity(0))


def test_the_kernels_own_limit_is_read() -> None:
    script = "from berth.limits.cpus import cpus; c = cpus(); print(c.quota, c.quota_file)"
    with cpu_group(0.5) as group:
        done = subprocess.run(
            group.command(sys.executable, "-c", script), capture_output=True, text=True, check=True
        )
    quota, file = done.stdout.split()
    assert float(quota) == 0.5
    assert file.startswith(str(group.folder))
