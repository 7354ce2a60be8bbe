"""Every reason why a cluster cannot take a model now, and that nothing else is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from berth.fit import FitRequest, Machine
from berth.fit.placement import Node, PlacementRequest, Taint, Toleration, place
from berth.fit.units import GIB
from fit.shapes import llama, llama_2_13b, qwen25_coder_7b

L4 = {
    "nvidia.com/gpu.product": "NVIDIA-L4",
    "nvidia.com/gpu.count": "2",
    "nvidia.com/gpu.memory": "23034",
    "nvidia.com/gpu.present": "true",
    "pool": "gpu",
}


def node(name: str = "a", **changes: Any) -> Node:
    """Two free L4."""
    values: dict[str, Any] = {
        "labels": L4,
        "gpus_allocatable": 2,
        "memory_allocatable": 64 * GIB,
    }
    return Node(name=name, **(values | changes))


def ask(machine: Machine) -> FitRequest:
    return FitRequest(model=llama(), name="llama-3.1-8b", machine=machine, context=8192)


def ask_large(machine: Machine) -> FitRequest:
    return FitRequest(model=llama_2_13b(), name="13b", machine=machine, context=4096)


REQUEST = PlacementRequest(ask=ask, name="llama-3.1-8b", selector={})


def code_of(nodes: list[Node], request: PlacementRequest = REQUEST) -> tuple[str, str]:
    found = place(nodes, request)
    assert not found.placed
    assert not found.nodes
    return found.reasons[0].code, found.reasons[0].text


def test_a_free_gpu_node_takes_it() -> None:
    found = place([node()], REQUEST)
    assert found.placed
    assert found.nodes == ("a",)
    assert found.verdict is not None
    assert found.verdict.outcome == "fits"


def test_no_nodes() -> None:
    assert code_of([])[0] == "no nodes"


def test_no_gpu_node() -> None:
    code, text = code_of([node(labels={}, gpus_allocatable=None)])
    assert (code, "none has GPUs" in text) == ("no GPU node", True)


def test_the_label_selector_matches_nothing() -> None:
    request = replace(REQUEST, selector={"pool": "large", "zone": "b"})
    code, text = code_of([node()], request)
    assert code == "label selector"
    assert "pool=large,zone=b matches none of 1 nodes" in text
    assert "pool is gpu" in text
    assert "no node has the label zone" in text


def test_only_nodes_of_the_selector_are_looked_at() -> None:
    other = node("b", labels=L4 | {"pool": "other"})
    assert place([other, node()], replace(REQUEST, selector={"pool": "gpu"})).nodes == ("a",)


@pytest.mark.parametrize(
    "labels",
    [
        {"feature.node.kubernetes.io/pci-10de.present": "true"},
        {"feature.node.kubernetes.io/pci-0302_10de.present": "true"},
        {"nvidia.com/gpu.present": "true"},
        {"node.kubernetes.io/instance-type": "g6.12xlarge"},
    ],
)
@pytest.mark.parametrize("allocatable", [None, 0])
def test_the_device_plugin_is_not_running(labels: dict[str, str], allocatable: int | None) -> None:
    code, text = code_of([node(labels=labels, gpus_allocatable=allocatable)])
    assert code == "device plugin"
    assert "device plugin is not running" in text


def test_gpus_taken() -> None:
    code, text = code_of([node(gpus_requested=2)])
    assert (code, text) == ("GPUs taken", "all 2 GPUs are requested by other pods")


def test_some_gpus_taken_where_all_are_needed() -> None:
    request = replace(REQUEST, ask=ask_large, name="13b")
    assert place([node()], request).placed
    code, text = code_of([node(gpus_requested=1)], request)
    assert (code, text) == ("GPUs taken", "1 of 2 GPUs are free, and 13b needs 2")


def test_one_free_gpu_is_enough_where_one_is() -> None:
    found = place([node(gpus_requested=1)], REQUEST)
    assert found.placed
    assert found.verdict is not None
    assert found.verdict.gpus_used == 1


def test_gpu_memory_too_small() -> None:
    small = L4 | {"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.memory": "15360"}
    labels = small | {"nvidia.com/gpu.count": "1"}
    code, text = code_of([node(labels=labels, gpus_allocatable=1)])
    assert code == "does not fit"
    assert text.startswith("Insufficient number of GPUs: Instance type a provides 1, but preset")


def test_a_taint_that_is_not_tolerated() -> None:
    tainted = node(taints=(Taint("dedicated", "ml", "NoSchedule"),))
    code, text = code_of([tainted])
    assert (code, text) == ("taint", "taint dedicated=ml:NoSchedule is not tolerated")
    tolerant = replace(REQUEST, tolerations=(Toleration("dedicated", "Equal", "ml"),))
    assert place([tainted], tolerant).placed


@pytest.mark.parametrize(
    "taint",
    [
        Taint("nvidia.com/gpu", "", "NoSchedule"),
        Taint("nvidia.com/gpu", "present", "NoExecute"),
        Taint("sku", "gpu", "NoSchedule"),
        Taint("anything", "", "PreferNoSchedule"),
    ],
)
def test_taints_of_gpu_pools_are_tolerated(taint: Taint) -> None:
    assert place([node(taints=(taint,))], REQUEST).placed


@pytest.mark.parametrize(
    ("toleration", "held"),
    [
        (Toleration("k", "Exists"), True),
        (Toleration("", "Exists"), True),
        (Toleration("k", "Equal", "v"), True),
        (Toleration("k", "Equal", "w"), False),
        (Toleration("j", "Exists"), False),
        (Toleration("k", "Exists", "", "NoExecute"), False),
    ],
)
def test_tolerations_follow_kubernetes(toleration: Toleration, held: bool) -> None:
    assert toleration.tolerates(Taint("k", "v", "NoSchedule")) is held


def test_a_node_that_is_not_ready_or_cordoned() -> None:
    assert code_of([node(ready=False)])[0] == "not ready"
    assert code_of([node(cordoned=True)])[0] == "cordoned"


def test_a_gpu_without_labels_is_found_by_its_instance_type() -> None:
    labels = {"node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"}
    found = place([node(labels=labels, gpus_allocatable=1)], REQUEST)
    assert found.verdict is not None
    assert found.verdict.machine.device.product == "NVIDIA-A100-80GB"


def test_a_gpu_that_nothing_tells_of_is_no_pass() -> None:
    assert code_of([node(labels={})])[0] == "unknown GPU"
    assert code_of([node(labels=L4 | {"nvidia.com/gpu.memory": "lots"})])[0] == "unknown GPU"


def test_heads_that_do_not_divide_are_not_needed_on_every_gpu() -> None:
    def ask_qwen(machine: Machine) -> FitRequest:
        return FitRequest(model=qwen25_coder_7b(), machine=machine, context=4096)

    labels = L4 | {"nvidia.com/gpu.count": "3"}
    found = place(
        [node(labels=labels, gpus_allocatable=3)], replace(REQUEST, ask=ask_qwen, name="q")
    )
    assert found.placed
    assert found.verdict is not None
    assert found.verdict.gpus_used == 2


def test_time_sliced_gpus_are_counted_whole() -> None:
    labels = L4 | {
        "nvidia.com/gpu.product": "NVIDIA-L4-SHARED",
        "nvidia.com/gpu.replicas": "4",
    }
    shared = node(labels=labels, gpus_allocatable=8)
    found = place([shared], REQUEST)
    assert found.verdict is not None
    assert found.verdict.machine.count == 2
    assert code_of([replace(shared, gpus_requested=5)])[0] == "GPUs taken"


def test_an_engine_that_cannot_run_there_is_told() -> None:
    def ask_bad(machine: Machine) -> FitRequest:
        return FitRequest(model=llama(), machine=machine, kv_dtype="fp8")

    code, text = code_of([node()], replace(REQUEST, ask=ask_bad))
    assert (code, "kv_dtype" in text) == ("engine", True)


def test_several_nodes_are_counted() -> None:
    request = replace(REQUEST, nodes=2)
    assert place([node("a"), node("b")], request).nodes == ("a", "b")
    found = place([node("a"), node("b", gpus_requested=2)], request)
    assert not found.placed
    assert found.nodes == ("a",)
    assert [reason.code for reason in found.reasons] == ["too few nodes", "GPUs taken"]


def test_the_fullest_node_is_preferred() -> None:
    found = place([node("a"), node("b", gpus_requested=1)], REQUEST)
    assert found.nodes[0] == "a"  # both of its GPUs are used, none is left idle


def test_a_cpu_node_is_asked_for_its_free_memory() -> None:
    request = replace(REQUEST, cpu=True)
    bare = node(labels={}, gpus_allocatable=None, memory_allocatable=30 * GIB)
    assert place([bare], request).placed
    code, text = code_of([replace(bare, memory_requested=20 * GIB)], request)
    assert code == "does not fit"
    assert text.startswith("Insufficient memory")
    assert code_of([replace(bare, memory_requested=30 * GIB)], request)[0] == "does not fit"
