"""Measured cases, KAITO's misses among them (kaito-project/kaito), in which the answer is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from berth.checkpoint.numbers import ModelNumbers
from berth.fit import FitRequest, explain, fit, own_gpus, sku
from berth.fit.units import GIB
from fit.shapes import (
    llama,
    llama_2_13b,
    llama_2_70b,
    mistral_small_4,
    qwen3,
    qwen25_coder_7b,
)


def kaito_estimate(
    *, memory_gib: float, weights_gib: float, bytes_per_token: int, utilisation: float = 0.84
) -> int:
    """Tokens by KAITO's rule at the time: all of the node's GPUs taken as one divided pool."""
    per_gpu = memory_gib * utilisation - 2.3 - weights_gib * 1.02
    return int(per_gpu / 1.05 * GIB / bytes_per_token)


def test_29_percent_over_latent_attention_is_on_every_rank() -> None:
    """#2132: served 1,048,576 tokens, vLLM had room for 810,208 and crashed."""
    asked = FitRequest(
        model=mistral_small_4(),
        name="mistral-small-4-119b",
        machine=sku("Standard_NC80adis_H100_v5"),
        engine="vllm",
        memory_fraction=0.84,
        stored_bytes=int(112.63 * GIB),
    )
    verdict = fit(asked)
    assert verdict.outcome == "fits with less"
    assert verdict.layout is not None
    assert verdict.layout.tensor == 2
    # 22.5 GiB of cache for 1,048,576 tokens, as vLLM's own message says, on each of both ranks.
    assert verdict.worst is not None
    assert verdict.worst.of("kv cache") == pytest.approx(22.5 * GIB, rel=0.001)
    assert verdict.max_context == pytest.approx(810_208, rel=0.05)
    assert verdict.max_context <= 810_208


def test_46_percent_under_on_a_small_gpu() -> None:
    """#2139: 11,008 tokens estimated, 20,272 real on Azure's A10 (by #2156 it was Qwen3-8B)."""
    asked = FitRequest(
        model=qwen3(4096, 12288, 36, 32, 40960),
        machine=sku("standard_nv36ads_a10_v5"),
        engine="vllm",
        memory_fraction=0.82,
    )
    verdict = fit(asked)
    theirs = kaito_estimate(
        memory_gib=24, weights_gib=15.26, bytes_per_token=147_456, utilisation=0.82
    )
    assert theirs < 0.7 * 20_272
    assert verdict.max_context == pytest.approx(20_272, rel=0.05)
    assert verdict.max_context <= 20_272


def test_two_stages_hold_what_vllm_measured() -> None:
    """#2156: Qwen3-14B on two A10 as a pipeline has room for 55,952 tokens."""
    asked = FitRequest(
        model=replace(qwen3(5120, 17408, 40, 40, 40960), context=131072),
        machine=sku("Standard_NV36ads_A10_v5"),
        nodes=2,
        engine="vllm",
        tensor=1,
        pipeline=2,
        memory_fraction=0.82,
    )
    assert fit(asked).max_context == pytest.approx(55_952, rel=0.05)


def test_28_heads_are_not_divided_by_8_gpus() -> None:
    """KAITO gives Qwen2.5-Coder-7B tensor parallelism 8 on a g5.48xlarge."""
    model = qwen25_coder_7b()
    eight = FitRequest(model=model, machine=sku("g5.48xlarge"), engine="vllm", tensor=8)
    verdict = fit(eight)
    assert verdict.outcome == "does not fit"
    assert verdict.binding == "sharding"
    assert "28 heads are not divisible by tensor-parallel degree 8" in verdict.conflicts
    assert verdict.changes[0].kind == "tensor"
    free = fit(replace(eight, tensor=None))
    assert free.outcome == "fits"
    assert free.layout is not None
    assert free.layout.tensor == 4
    native = fit(replace(eight, tensor=None, engine="native"))
    assert native.gpus_used == 4
    assert any("4 of 8 GPUs are used" in note for note in native.notes)


@pytest.mark.parametrize("engine", ["native", "vllm"])
def test_kv_heads_are_copied_not_divided_beyond_their_number(engine: str) -> None:
    """4 kv heads on 8 ranks: a rank keeps a whole one, not half of one."""
    model = llama(num_attention_heads=32, num_key_value_heads=4)
    four, eight = (
        fit(
            FitRequest(
                model=model,
                machine=own_gpus("NVIDIA-H100-NVL", 8),
                engine=engine,  # type: ignore[arg-type]
                tensor=degree,
                context=8192,
            )
        )
        for degree in (4, 8)
    )
    assert four.worst is not None
    assert eight.worst is not None
    assert four.worst.of("kv cache") == eight.worst.of("kv cache") > 0
    assert four.need > eight.need


def test_exactly_as_much_as_there_is_fits() -> None:
    """KAITO's int() + 1 asks for a GPU more where it is just enough."""
    model = llama(max_position_embeddings=4096)
    asked = FitRequest(model=model, machine=own_gpus("L4", 1), memory_fraction=1.0)
    exact = replace(asked.machine.device, total=fit(asked).need, low=0, high=10**12)
    one = replace(asked, machine=replace(asked.machine, device=exact))
    assert fit(one).outcome == "fits"
    short = replace(exact, total=exact.total - 1)
    assert fit(replace(asked, machine=replace(one.machine, device=short))).outcome != "fits"


def test_the_seeds_totals_are_not_counted_twice() -> None:
    """Its webhook multiplied a node's total by its GPUs: 70B "fitted" four V100 of 16 GB."""
    asked = FitRequest(
        model=llama_2_70b(), name="llama-2-70b-chat", machine=sku("Standard_NC24s_v3"), context=512
    )
    verdict = fit(asked)
    assert verdict.outcome == "does not fit"
    assert verdict.binding == "weights"
    assert any(line.startswith("Insufficient total GPU memory") for line in verdict.headlines)


def test_the_seeds_default_fits_with_less_than_its_models_context() -> None:
    """llama-2-13b-chat on the seed's default type ran with 512 tokens; 8 at a time have room."""
    asked = FitRequest(
        model=llama_2_13b(), name="llama-2-13b-chat", machine=sku("Standard_NC12s_v3")
    )
    assert fit(replace(asked, context=512, concurrency=3)).outcome == "fits"
    assert fit(asked).gpus_used == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Standard_NC12s_v3", "compute capability 7.5"),
        ("Standard_NC4as_T4_v3", "dtype float16"),
    ],
)
def test_gpus_that_the_engine_crashes_on_are_refused(name: str, reason: str) -> None:
    """#2114: T4 and V100 are advertised, and crash."""
    verdict = fit(FitRequest(model=llama(), machine=sku(name), engine="vllm", context=2048))
    assert verdict.outcome == "does not fit"
    assert verdict.binding == "compute capability"
    assert any(reason in line for line in verdict.conflicts)


def test_a_quantised_checkpoint_is_counted_as_it_is_packed() -> None:
    """#2002: Qwen3-8B-AWQ's files are 5.68 GiB."""
    model = replace(qwen3(4096, 12288, 36, 32, 40960), quantization="awq")
    verdict = fit(
        FitRequest(model=model, machine=own_gpus("T4", 1), engine="vllm", dtype="float16")
    )
    assert verdict.worst is not None
    assert verdict.worst.of("weights") == pytest.approx(5.68 * GIB, rel=0.005)
    assert verdict.outcome == "fits"


def test_a_cpu_node_is_measured_by_its_memory() -> None:
    """#242: a CPU type passed the check and the pod stayed Pending."""
    small, large = (
        fit(FitRequest(model=llama(), machine=sku(name), context=4096))
        for name in ("Standard_D4s_v5", "Standard_D8s_v5")
    )
    assert small.outcome == "does not fit"
    assert small.headlines[0].startswith(
        "Insufficient memory: Instance type Standard_D4s_v5 provides 14.1 GiB, but"
    )
    assert large.outcome == "fits"


MESSAGES = [
    (
        FitRequest(
            model=llama_2_13b(), name="m", machine=sku("Standard_NC6s_v3"), context=512, tensor=2
        ),
        "Insufficient number of GPUs: Instance type Standard_NC6s_v3 provides 1, but preset m "
        "requires at least 2",
    ),
    (
        FitRequest(model=llama(), name="m", machine=sku("Standard_NC6s_v3"), context=512),
        "Insufficient GPU memory: Instance type Standard_NC6s_v3 provides 15.0 GiB per GPU, but "
        "preset m requires at least 16.1 GiB per GPU",
    ),
    (
        FitRequest(model=llama_2_70b(), name="m", machine=sku("p3.8xlarge"), context=512),
        "Insufficient total GPU memory: Instance type p3.8xlarge has a total of 59.9 GiB, but "
        "preset m requires at least 134 GiB",
    ),
]


@pytest.mark.parametrize(("asked", "message"), MESSAGES)
def test_a_refusal_is_headed_by_the_seeds_message(asked: FitRequest, message: str) -> None:
    verdict = fit(asked)
    assert not verdict.accepted
    assert message in explain(verdict)[: len(verdict.headlines)]
    text = "\n".join(explain(verdict))
    if verdict.layout is not None:
        for term in ("weights", "kv cache", "activations", "logits", "runtime overhead", "disk"):
            assert term in text
    assert "It would fit with" in text


PUBLISHED: list[tuple[ModelNumbers, int]] = [
    (llama(), 8_030_261_248),
    (llama_2_13b(), 13_015_864_320),
    (llama_2_70b(), 68_976_648_192),
    (qwen3(4096, 12288, 36, 32, 40960), 8_190_735_360),
]


@pytest.mark.parametrize(("model", "parameters"), PUBLISHED)
def test_weights_are_the_published_parameters(model: ModelNumbers, parameters: int) -> None:
    verdict = fit(FitRequest(model=model, machine=own_gpus("H200", 8), tensor=1))
    assert verdict.worst is not None
    assert verdict.worst.of("weights") == 2 * parameters
    assert {t.name: t.exact for t in verdict.terms}["weights"]
