"""The sentence that heads a refusal has units, and agrees with itself and with the terms below."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.checkpoint.numbers import ModelNumbers
from berth.fit import FitRequest, cpu_node, explain, fit, own_gpus
from berth.fit.units import GIB, MIB, human, unlike
from berth.presets.catalogue import load_presets

_UNITS = {"B": 1, "KiB": 1024, "MiB": MIB, "GiB": GIB}
_SIZE = r"([\d.,]+) (B|KiB|MiB|GiB)"
_CPU = re.compile(rf"Insufficient memory: Instance type .* provides {_SIZE}, but .* least {_SIZE}")
_GPU = re.compile(
    rf"Insufficient GPU memory: .* provides {_SIZE} per GPU, but .* at least {_SIZE} per GPU"
)


def size(number: str, unit: str) -> float:
    return float(number.replace(",", "")) * _UNITS[unit]


def numbers(name: str) -> ModelNumbers:
    found = load_presets()[name].numbers
    assert found is not None
    return found


def refused(sentence: re.Pattern[str], request: FitRequest) -> None:
    """The head and the terms of a refusal have the same two numbers, the first below the second."""
    verdict = fit(request)
    if verdict.outcome == "fits":
        return
    lines = explain(verdict)
    heads = [match for line in lines if (match := sentence.match(line))]
    if verdict.accepted:  # "fits with less", where no context was asked for by name
        assert not verdict.headlines
        return
    (head,) = heads
    provided, needed = head.group(1, 2), head.group(3, 4)
    assert size(*provided) < size(*needed)
    if verdict.layout is not None and verdict.layout.ranks == 1:
        terms = f"{' '.join(needed)} needed > {' '.join(provided)} usable"
        assert any(terms in line for line in lines)


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_two_sizes_that_differ_are_written_unlike(one: int, other: int) -> None:
    shown = unlike(one, other)
    assert (shown[0] == shown[1]) == (one == other)
    if human(one) != human(other):
        assert shown == (human(one), human(other))


@given(st.integers(1 << 28, 1 << 38), st.integers(1, 1 << 20))
def test_so_are_those_that_almost_agree(size: int, more: int) -> None:
    less, greater = unlike(size, size + more)
    assert less != greater


@given(st.integers(MIB, 2 * GIB))
def test_memory_of_a_small_pod(memory: int) -> None:
    machine = cpu_node(memory, "a pod")
    refused(_CPU, FitRequest(model=numbers("pocket"), name="pocket", machine=machine, context=512))


@given(st.integers(8 * GIB, 40 * GIB))
def test_memory_of_a_node(memory: int) -> None:
    request = FitRequest(model=numbers("llama-2-7b"), machine=cpu_node(memory, "n"), context=4096)
    refused(_CPU, request)


@pytest.mark.parametrize("gpu", ["NVIDIA-L4", "Tesla-T4", "NVIDIA-A100-SXM4-80GB"])
@pytest.mark.parametrize("model", ["llama-2-7b", "llama-2-13b", "llama-2-70b"])
def test_memory_of_gpus(gpu: str, model: str) -> None:
    request = FitRequest(model=numbers(model), machine=own_gpus(gpu, 1), context=4096)
    refused(_GPU, request)


def test_a_pod_that_is_a_little_too_small_is_told_by_how_much() -> None:
    """It was "provides 0, but preset pocket requires at least 1"."""
    machine = cpu_node(300 * MIB, "a pod of 300 MiB")
    verdict = fit(FitRequest(model=numbers("pocket"), name="pocket", machine=machine))
    (head,) = verdict.headlines
    match = _CPU.match(head)
    assert match is not None, head
    assert match[2] == match[4] == "MiB"
