"""What the API server tells becomes nodes with what is free on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.cluster.api_server import ClusterError, connect, read_nodes
from berth.cluster.quantity import parse_quantity
from berth.fit.placement import Taint
from berth.fit.units import GIB, KIB
from cluster.fake_api import LABELS, FakeApi, fake_api

GPU = "nvidia.com/gpu"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as running:
        yield running


def test_a_node_with_its_labels_taints_and_gpus(api: FakeApi, tmp_path: Path) -> None:
    taint = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
    api.add_node("a", taints=[taint])
    (node,) = read_nodes(connect(api.kubeconfig(tmp_path)))
    assert node.name == "a"
    assert node.labels == LABELS
    assert node.taints == (Taint("sku", "gpu", "NoSchedule"),)
    assert (node.gpus_allocatable, node.gpus_requested) == (4, 0)
    assert node.memory_allocatable == 190_000_000 * KIB
    assert node.ready
    assert not node.cordoned


def test_a_node_without_the_device_plugin_offers_no_gpus(api: FakeApi, tmp_path: Path) -> None:
    api.add_node("a", gpus=None, ready="Unknown", cordoned=True)
    (node,) = read_nodes(connect(api.kubeconfig(tmp_path)))
    assert node.gpus_allocatable is None
    assert not node.ready
    assert node.cordoned


def test_what_pods_request_is_counted_as_the_scheduler_does(api: FakeApi, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        api.add_node(name)
    one, two = {"limits": {GPU: "1"}}, {"requests": {GPU: "2"}, "limits": {GPU: "2"}}
    api.add_pod("a", one, two)
    api.add_pod("a", {})
    api.add_pod("b", one, init=[{"name": "i", "resources": {"limits": {GPU: "3"}}}])
    api.add_pod("c", one, init=[{"name": "s", "restartPolicy": "Always", "resources": two}])
    api.add_pod(None, two)  # pending: on no node yet
    api.add_pod("a", two, phase="Succeeded")
    api.add_pod("a", two, phase="Failed")
    found = {n.name: n.gpus_requested for n in read_nodes(connect(api.kubeconfig(tmp_path)))}
    assert found == {"a": 3, "b": 3, "c": 3}


def test_memory_requests_are_added_up(api: FakeApi, tmp_path: Path) -> None:
    api.add_node("a")
    api.add_pod("a", {"requests": {"memory": "2Gi"}}, {"requests": {"memory": "500M"}})
    (node,) = read_nodes(connect(api.kubeconfig(tmp_path)))
    assert node.memory_requested == 2 * GIB + 500_000_000


def test_an_odd_pod_is_told_and_no_traceback(api: FakeApi, tmp_path: Path) -> None:
    api.add_node("a")
    api.add_pod("a", {"requests": {"memory": "lots"}})
    with pytest.raises(ClusterError, match="pod default/pod-0 cannot be understood: memory is 'lo"):
        read_nodes(connect(api.kubeconfig(tmp_path)))


@pytest.mark.parametrize("resource", [GPU, "memory"])
def test_an_odd_node_is_told_and_no_traceback(resource: str, api: FakeApi, tmp_path: Path) -> None:
    api.add_node("a")
    api.nodes[0]["status"]["allocatable"][resource] = "lots"
    with pytest.raises(ClusterError, match=f"node a cannot be understood: {resource} is 'lots'"):
        read_nodes(connect(api.kubeconfig(tmp_path)))


def test_what_a_newer_kubernetes_adds_does_not_matter(api: FakeApi, tmp_path: Path) -> None:
    api.add_node("a")
    api.nodes[0]["spec"]["taints"] = [{"key": "new", "effect": "NoIdea", "since": 5}]
    api.nodes[0]["status"]["conditions"].append({"novel": True})
    api.add_pod("a", {"limits": {GPU: "1"}, "novel": []}, init=[{"restartPolicy": "Sometimes"}])
    (node,) = read_nodes(connect(api.kubeconfig(tmp_path)))
    assert node.ready
    assert node.taints == (Taint("new", "", "NoIdea"),)
    assert node.gpus_requested == 1


@pytest.mark.parametrize("page", [b"<html>sign in</html>", b"\xff", b"[]", b'{"items": [1]}'])
def test_an_answer_that_is_no_list_is_told(page: bytes, api: FakeApi, tmp_path: Path) -> None:
    api.page = page
    with pytest.raises(ClusterError, match="the API server's answer cannot be understood"):
        read_nodes(connect(api.kubeconfig(tmp_path)))


def test_slices_of_shared_gpus_are_counted_all(api: FakeApi, tmp_path: Path) -> None:
    api.add_node("a", gpus=800)
    api.add_pod("a", {"limits": {GPU: "300"}})
    (node,) = read_nodes(connect(api.kubeconfig(tmp_path)))
    assert (node.gpus_allocatable, node.gpus_requested) == (800, 300)


def test_a_large_cluster_comes_in_pages(api: FakeApi, tmp_path: Path) -> None:
    for index in range(7):
        api.add_node(f"n{index}")
        api.add_pod(f"n{index}", {"limits": {GPU: "1"}})
    nodes = read_nodes(connect(api.kubeconfig(tmp_path)))
    assert [node.name for node in nodes] == [f"n{index}" for index in range(7)]
    assert {node.gpus_requested for node in nodes} == {1}
    assert sum("/nodes" in path for path in api.requests) == 4


@pytest.mark.parametrize(("status", "message"), [(403, "ClusterRole"), (500, "answers 500")])
def test_a_server_that_refuses_says_what_is_needed(
    status: int, message: str, api: FakeApi, tmp_path: Path
) -> None:
    api.deny = status
    with pytest.raises(ClusterError, match=message):
        read_nodes(connect(api.kubeconfig(tmp_path)))


def test_no_cluster_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no cluster to ask"):
        connect(tmp_path / "missing")
    with fake_api() as gone:
        file = gone.kubeconfig(tmp_path)
    with pytest.raises(ClusterError, match="cannot be reached"):
        read_nodes(connect(file))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("16Gi", 16 * GIB),
        ("190000000Ki", 190_000_000 * KIB),
        ("500m", 1),
        ("1.5Gi", 3 * GIB // 2),
        ("128974848", 128_974_848),
        ("129e6", 129_000_000),
        ("129M", 129_000_000),
        ("4E", 4 * 10**18),
    ],
)
def test_quantities(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "Gi", "1Xi", "one", "1 Gi", "0x10"])
def test_what_is_no_quantity_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no Kubernetes quantity"):
        parse_quantity(text)
