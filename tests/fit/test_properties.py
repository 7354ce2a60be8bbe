"""What must hold of every answer: more asked never frees memory, more given never takes a yes."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.checkpoint.numbers import ModelNumbers
from berth.cli.model_source import from_preset
from berth.fit import FitRequest, Verdict, fit, own_gpus
from berth.fit.cache_size import cache_bytes
from berth.fit.engines import EngineName
from berth.fit.machines import Device, Machine, all_skus, measured_gpu
from berth.fit.sharding import Layout, conflicts, feasible_degrees, outline, stages
from berth.fit.units import GIB, MIB
from berth.presets.catalogue import load_presets
from fit.shapes import llamas, mixed

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
gpu_sizes = st.integers(8 * 1024, 180 * 1024).map(lambda mib: mib * MIB)
models: st.SearchStrategy[tuple[ModelNumbers, EngineName]] = st.one_of(
    llamas().map(lambda m: (m, "native")), mixed().map(lambda m: (m, "vllm"))
)


def machine(total: int, count: int) -> Machine:
    return Machine(name="test", device=measured_gpu("test", total), count=count)


def bare(request: FitRequest, count: int) -> FitRequest:
    return replace(request, machine=replace(request.machine, count=count))


@few
@given(models, gpu_sizes, st.sampled_from([1, 2, 4, 8]), st.data())
def test_more_context_or_concurrency_never_frees_memory(
    chosen: tuple[ModelNumbers, EngineName], total: int, count: int, data: st.DataObject
) -> None:
    model, engine = chosen
    most = model.context or 2048
    context = data.draw(st.integers(1, most))
    more = data.draw(st.integers(context, most))
    concurrency = data.draw(st.integers(1, 64))
    asked = FitRequest(
        model=model, machine=machine(total, count), engine=engine, tensor=1, pipeline=1
    )
    needs = [
        fit(replace(asked, context=c, concurrency=n)).need
        for c, n in [(context, concurrency), (more, concurrency), (more, concurrency + 3)]
    ]
    assert needs == sorted(needs)


@few
@given(mixed(), st.integers(1, 64))
def test_more_weight_bits_never_free_memory(model: ModelNumbers, concurrency: int) -> None:
    asked = FitRequest(
        model=model,
        machine=machine(80 * GIB, 1),
        engine="vllm",
        context=2048,
        concurrency=concurrency,
    )
    needs = [fit(replace(asked, quantize=name)).need for name in ("awq", "gptq", "fp8")]
    plain = [fit(replace(asked, dtype=dtype)).need for dtype in ("bfloat16", "float32")]
    assert needs == sorted(needs)
    assert needs[-1] <= plain[0] <= plain[1]


@few
@given(models)
def test_a_larger_degree_never_raises_a_ranks_share(
    chosen: tuple[ModelNumbers, EngineName],
) -> None:
    model, engine = chosen
    plan = outline(model)
    asked = FitRequest(model=model, machine=machine(80 * GIB, 16), engine=engine)
    shares = []
    for degree in feasible_degrees(plan, engine, 16):
        (stage,) = stages(asked, plan, Layout(degree))
        cache = cache_bytes(
            stage.layers,
            degree=degree,
            context=1000,
            concurrency=3,
            element=asked.kv_element,
            engine=engine,
            batch_tokens=512,
        )
        shares.append((stage.weight_bytes, cache))
    assert shares
    for (weights, cache), (next_weights, next_cache) in pairwise(shares):
        assert next_weights <= weights
        assert next_cache <= cache


@few
@given(models, gpu_sizes, st.integers(1, 8), st.integers(1, 16))
def test_a_gpu_more_never_turns_a_yes_into_a_no(
    chosen: tuple[ModelNumbers, EngineName], total: int, count: int, concurrency: int
) -> None:
    model, engine = chosen
    asked = FitRequest(
        model=model,
        machine=machine(total, count),
        engine=engine,
        context=2048,
        concurrency=concurrency,
    )
    before = fit(asked)
    after = fit(bare(asked, count + 1))
    if before.outcome == "fits":
        assert after.outcome == "fits"
    if after.gpus_used < count + 1 and conflicts(outline(model), Layout(count + 1), engine):
        assert after.layout is not None
        assert any(f"of {count + 1} GPUs are used" in note for note in after.notes)


@few
@given(models, gpu_sizes, st.integers(1, 8))
def test_a_degree_that_does_not_divide_says_so(
    chosen: tuple[ModelNumbers, EngineName], total: int, degree: int
) -> None:
    model, engine = chosen
    reasons = conflicts(outline(model), Layout(degree), engine)
    asked = FitRequest(model=model, machine=machine(total, 8), engine=engine, tensor=degree)
    verdict = fit(asked)
    assert (verdict.layout is None) == bool(reasons)
    if reasons and engine == "native":
        assert verdict.outcome == "does not fit"
        assert verdict.binding == "sharding"
        assert all(f"tensor-parallel degree {degree}" in reason for reason in verdict.conflicts)


@few
@given(models, gpu_sizes, st.integers(1, 8), st.integers(1, 32), st.data())
def test_every_verdict_agrees_with_its_own_terms(
    chosen: tuple[ModelNumbers, EngineName],
    total: int,
    count: int,
    concurrency: int,
    data: st.DataObject,
) -> None:
    model, engine = chosen
    context = data.draw(st.integers(512, model.context or 2048))
    asked = FitRequest(
        model=model,
        machine=machine(total, count),
        engine=engine,
        context=context,
        concurrency=concurrency,
    )
    verdict = fit(asked)
    _check(verdict)
    again = fit(replace(asked, context=max(verdict.max_context, 1)))
    assert (again.outcome == "fits") == (verdict.max_context > 0)


def _check(verdict: Verdict) -> None:
    assert verdict.layout is not None
    assert verdict.gpus_used <= verdict.machine.count
    for need in verdict.needs:
        assert need.low <= need.bytes <= need.high
        assert all(t.low <= t.bytes <= t.high for t in need.terms)
        assert all(t.low == t.high for t in need.terms if t.exact)
    fits = all(need.bytes <= verdict.usable for need in verdict.needs)
    assert (verdict.outcome == "fits") == fits
    assert (verdict.max_context == verdict.context) == fits
    assert (verdict.max_concurrency >= verdict.concurrency) == fits
    assert verdict.accepted == fits
    assert bool(verdict.headlines) <= (not fits)
    if not fits:
        assert verdict.headlines


@few
@given(models, gpu_sizes, st.integers(1, 8))
def test_every_change_that_is_named_makes_it_fit(
    chosen: tuple[ModelNumbers, EngineName], total: int, count: int
) -> None:
    model, engine = chosen
    asked = FitRequest(model=model, machine=machine(total, count), engine=engine, concurrency=300)
    verdict = fit(asked)
    assert not (verdict.changes and verdict.outcome == "fits")
    for change in verdict.changes:
        if change.kind == "sku":
            found = int(str(change.value).split()[0])
            assert fit(bare(asked, found)).outcome == "fits"
        else:
            assert fit(replace(asked, **{change.kind: change.value})).outcome == "fits"


@few
@given(models, gpu_sizes, st.integers(0, 64 * 1024))
def test_more_gpu_memory_never_takes_a_yes_back(
    chosen: tuple[ModelNumbers, EngineName], total: int, more_mib: int
) -> None:
    model, engine = chosen
    if engine == "vllm" and total < 70 * GIB <= total + more_mib * MIB:
        return  # from 70 GiB on it takes larger steps and more sequences
    small, large = (
        fit(FitRequest(model=model, machine=machine(size, 1), engine=engine, context=1024))
        for size in (total, total + more_mib * MIB)
    )
    assert large.max_context >= small.max_context
    assert large.max_concurrency >= small.max_concurrency


@pytest.mark.parametrize("name", ["llama-2-70b", "deepseek-v3-0324", "nemotron-3-nano-30b-a3b"])
def test_an_answer_takes_less_than_50_ms(name: str) -> None:
    """Of processor time, on average over instance types, the search for changes included."""
    found = from_preset(load_presets()[name])
    machines = [m for m in all_skus() if m.device.kind == "gpu"][::7]
    requests = [
        FitRequest(
            model=found.numbers,
            machine=machine,
            engine="vllm" if found.engine == "none" else found.engine,
            stored_bytes=found.stored_bytes,
        )
        for machine in machines
    ]
    began = time.process_time()
    for request in requests:
        fit(request)
    assert (time.process_time() - began) / len(requests) < 0.05


def test_an_estimated_device_is_taken_at_its_least() -> None:
    device = Device(
        product="X", kind="gpu", total=40 * GIB, low=39 * GIB, high=41 * GIB, known=False
    )
    asked = FitRequest(
        model=own_model(),
        machine=Machine(name="x", device=device, count=1),
        memory_fraction=1.0,
    )
    assert fit(asked).usable == 39 * GIB
    assert any("estimated" in note for note in fit(asked).notes)


def own_model() -> ModelNumbers:
    from fit.shapes import llama

    return llama()


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_own_hardware_is_asked_the_same_way(count: int) -> None:
    verdict = fit(FitRequest(model=own_model(), machine=own_gpus("L4", count), context=8192))
    assert verdict.gpus_used == count
