"""The groups whose limits hold for a process are found, however they are mounted."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.limits.cgroups import Group, groups, read_file
from limits.files import files, hybrid, v1, v2


def folders(controller: str, texts: dict[str, str]) -> list[str]:
    return [group.folder for group in groups(controller, files(texts))]


def test_a_container_with_its_own_namespace_sees_its_group_as_the_root() -> None:
    assert groups("cpu", files(v2())) == [Group(2, "/sys/fs/cgroup")]


def test_a_service_on_a_host_is_in_its_group_and_in_all_above_it() -> None:
    place = "/system.slice/berth.service"
    assert folders("memory", v2(place)) == [
        "/sys/fs/cgroup/system.slice/berth.service",
        "/sys/fs/cgroup/system.slice",
        "/sys/fs/cgroup",
    ]


def test_version_1_has_a_tree_for_each_controller() -> None:
    texts = v1("/docker/abc")
    assert groups("cpu", files(texts)) == [
        Group(1, "/sys/fs/cgroup/cpu,cpuacct/docker/abc"),
        Group(1, "/sys/fs/cgroup/cpu,cpuacct/docker"),
        Group(1, "/sys/fs/cgroup/cpu,cpuacct"),
    ]
    assert folders("memory", texts)[0] == "/sys/fs/cgroup/memory/docker/abc"


def test_a_bind_mount_of_the_containers_own_group_is_not_looked_for_below_itself() -> None:
    place = "/kubepods/burstable/pod1/c2"
    assert folders("cpu", v1(place, root=place)) == ["/sys/fs/cgroup/cpu,cpuacct"]
    assert folders("cpu", v1(f"{place}/inner", root=place)) == [
        "/sys/fs/cgroup/cpu,cpuacct/inner",
        "/sys/fs/cgroup/cpu,cpuacct",
    ]


def test_a_hybrid_host_is_read_in_both_trees() -> None:
    assert folders("memory", hybrid("/a")) == [
        "/sys/fs/cgroup/memory/a",
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/unified/a",
        "/sys/fs/cgroup/unified",
    ]


@pytest.mark.parametrize("place", ["/../other", "/..", "/elsewhere"])
def test_a_place_outside_what_is_mounted_leaves_the_mounts_root(place: str) -> None:
    root = "/" if place.startswith("/..") else "/docker/abc"
    assert folders("cpu", v2(place, root=root)) == ["/sys/fs/cgroup"]


def test_a_name_that_only_begins_like_the_mounts_root_is_outside_it() -> None:
    assert folders("cpu", v2("/docker/abcd", root="/docker/abc")) == ["/sys/fs/cgroup"]


def test_mount_points_with_spaces_are_unescaped() -> None:
    assert folders("cpu", v2(point="/mnt/my\\040groups")) == ["/mnt/my groups"]


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"/proc/self/cgroup": "0::/\n"},
        {"/proc/self/mountinfo": v2()["/proc/self/mountinfo"]},
        {"/proc/self/cgroup": "nonsense\n\n", "/proc/self/mountinfo": "- - -\nx\n - cgroup\n"},
        v1("/a") | {"/proc/self/cgroup": "3:cpuset:/\n"},
    ],
)
def test_where_nothing_can_be_read_there_are_no_groups(texts: dict[str, str]) -> None:
    assert folders("cpu", texts) == []


@given(st.text(), st.text())
def test_no_text_is_an_error(mounts: str, places: str) -> None:
    found = groups("cpu", files({"/proc/self/mountinfo": mounts, "/proc/self/cgroup": places}))
    assert len(found) == len(set(found))


def test_this_machine_is_read() -> None:
    for group in groups("memory"):
        assert os.path.isdir(group.folder), group
    assert read_file("/proc/self/cgroup")
    assert read_file("/no/such/file") is None
