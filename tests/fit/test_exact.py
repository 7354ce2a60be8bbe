"""Weights and cache to the byte: against the native engine's tensors, kind of layer by kind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.numbers import numbers_of, parameter_count
from berth.fit import FitRequest, engine_budget, fit
from berth.fit.budget import CannotFit, EngineBudget
from berth.fit.cache_size import bytes_per_token, cache_bytes, kept_tokens
from berth.fit.machines import cpu_node, own_gpus
from berth.fit.quantization import SCHEMES, tensor_bytes
from berth.fit.request import FitInputError
from berth.fit.sharding import Layout, outline, stage_layers, stages
from berth.fit.units import ELEMENT_BYTES, GIB, MIB
from berth.kernels.ops import SCORE_BYTES, rows_at_once
from berth.models.registry import model_class
from berth.models.weights.folder import open_weights
from berth.models.weights.names import tensor_shapes
from engines.native.harness import alone
from fit.shapes import LINEAR, STATE_SPACE, attention, llama, mistral_small_4, uniform
from models.checkpoints import tiny_config, write_hf

TWO = ELEMENT_BYTES["bfloat16"]
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, tied": {"tie_embeddings": True},
    "llama, biases": {"qkv_bias": True, "out_bias": True, "mlp_bias": True},
    "mistral": {"architecture": "mistral", "windows": (64, 64)},
    "qwen2": {"architecture": "qwen2", "qkv_bias": True},
    "qwen3": {"architecture": "qwen3", "qk_norm": True, "head_dim": 16},
    "multi-query": {"num_kv_heads": 1},
    "llama, odd": {"vocab_size": 101, "hidden_size": 72, "intermediate_size": 91, "head_dim": 6},
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_a_ranks_weights_are_its_tensors_to_the_byte(name: str, degree: int) -> None:
    config = tiny_config(**CONFIGS[name])
    if degree not in config.degrees():
        degree = 1
    asked = FitRequest(
        model=numbers_of(config), machine=cpu_node(GIB), tensor=degree, dtype="float32"
    )
    (stage,) = stages(asked, outline(asked.model), Layout(degree))
    assert stage.weight_bytes == _share(config, degree)
    assert parameter_count(asked.model) * 4 == _share(config, 1)


def _share(config: ModelConfig, degree: int) -> int:
    """Bytes of rank 0 in float32, by the tensors' names: an arithmetic of the test's own."""
    kv_degree = min(degree, config.num_kv_heads)
    total = 0
    for name, shape in tensor_shapes(config).items():
        size = math.prod(shape) * 4
        divided = any(
            part in name for part in ("embed_tokens", "lm_head", "q_proj", "gate_proj", "up_proj")
        ) or name.endswith(("o_proj.weight", "down_proj.weight"))
        if "k_proj" in name or "v_proj" in name:
            size //= kv_degree
        elif divided:
            size //= degree
        total += size
    return total


FALCONS: dict[str, dict[str, Any]] = {
    "falcon-rw": {"num_kv_heads": 8, "alibi": True, "qkv_bias": True, "out_bias": True,
                  "mlp_bias": True},
    "falcon-7b": {"num_kv_heads": 1, "parallel_attention": True, "norms_per_layer": 1},
    "falcon-40b": {"num_kv_heads": 4, "parallel_attention": True},
}  # fmt: skip


@pytest.mark.parametrize("name", FALCONS)
def test_falcons_weights_are_its_tensors_to_the_byte(name: str) -> None:
    config = tiny_config(architecture="falcon", tie_embeddings=True, **FALCONS[name])
    asked = FitRequest(model=numbers_of(config), machine=cpu_node(GIB), dtype="float32")
    (stage,) = stages(asked, outline(asked.model), Layout())
    expected = sum(math.prod(shape) * 4 for shape in tensor_shapes(config).values())
    assert stage.weight_bytes == expected


@pytest.mark.parametrize("name", ["llama", "llama, tied", "qwen2", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_engine_loads_and_allocates_what_was_said(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    config = tiny_config(**CONFIGS[name])
    write_hf(tmp_path / "m", config) if name.startswith("llama") else None
    model = model_class(config)(config, alone(), dtype, 256)
    asked = FitRequest(
        model=numbers_of(config),
        machine=cpu_node(GIB),
        dtype=str(dtype).removeprefix("torch."),
        context=256,
        concurrency=3,
    )
    verdict = fit(asked)
    assert verdict.worst is not None
    assert verdict.worst.of("kv cache") == 3 * (256 // 16) * model.cache_bytes_per_block()
    caches = model.make_caches(3 * 256 // 16)
    assert verdict.worst.of("kv cache") == sum(c.k.nbytes + c.v.nbytes for c in caches)
    if name.startswith("llama"):
        source = open_weights(tmp_path / "m")
        loaded = model.load(source, lambda count: None)
        source.close()
        assert verdict.worst.of("weights") == loaded


def test_cache_by_kind_of_layer() -> None:
    def per_token(layer: Any, degree: int = 1) -> int:
        return bytes_per_token([(layer, 1)], degree, TWO)

    assert per_token(attention()) == 2 * 4 * 64 * 2  # grouped
    assert per_token(attention(kv_heads=16)) == 2 * 16 * 64 * 2  # multi-head
    assert per_token(attention(kv_heads=1)) == 2 * 64 * 2  # multi-query
    assert per_token(attention(kv_heads=1), 4) == 2 * 64 * 2  # … on each of four ranks
    assert per_token(attention(), 2) == 2 * 2 * 64 * 2
    assert per_token(attention(value_dim=32)) == 4 * (64 + 32) * 2
    assert per_token(attention(cache_of=0)) == 0  # reads another layer's
    assert per_token(attention(causal=False)) == 0  # an encoder's
    latent = mistral_small_4().layers[0]
    assert per_token(latent) == per_token(latent, 8) == (256 + 64) * 2
    assert per_token(LINEAR) == per_token(STATE_SPACE) == 0


def test_a_window_bounds_what_is_kept() -> None:
    layer = attention(window=1024)
    assert kept_tokens(layer, 100_000, "vllm", 2048) == 3072 + 16
    assert kept_tokens(layer, 100_000, "native", 2048) == 100_000
    assert kept_tokens(layer, 100_000, "transformers", 0) == 1024
    assert kept_tokens(layer, 500, "vllm", 2048) == 512


def test_blocks_are_rounded_up() -> None:
    sizes = [
        cache_bytes(
            [(attention(), 2)],
            degree=1,
            context=tokens,
            concurrency=1,
            element=TWO,
            engine="native",
            batch_tokens=512,
        )
        for tokens in (1, 16, 17)
    ]
    assert sizes[0] == sizes[1] == 2 * 16 * 1024
    assert sizes[2] == 2 * sizes[0]


def test_a_state_is_as_large_for_one_token_as_for_many() -> None:
    for layer in (LINEAR, STATE_SPACE):
        one, many = (
            fit(
                FitRequest(
                    model=uniform(layer),
                    machine=own_gpus("L4", 1),
                    engine="vllm",
                    context=context,
                )
            ).worst
            for context in (1, 60_000)
        )
        assert one is not None
        assert many is not None
        assert one.of("kv cache") == many.of("kv cache") > 0


def test_fewer_bits_of_the_cache_make_it_smaller() -> None:
    asked = {"model": uniform(attention()), "machine": own_gpus("L4", 1), "context": 4096}
    plain = fit(FitRequest(engine="vllm", **asked))  # type: ignore[arg-type]
    small = fit(FitRequest(engine="vllm", kv_dtype="fp8", **asked))  # type: ignore[arg-type]
    assert plain.worst is not None
    assert small.worst is not None
    assert plain.worst.of("kv cache") == 2 * small.worst.of("kv cache")


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        # 256 x 512: elements, then scales, zero points, tables.
        ("fp8", 131072 + 2 * 4 * 4),
        ("int8", 131072 + 256 * 4),
        ("nf4", 65536 + 2048 * 4 + 64),
        ("awq", 65536 + 4 * 256 * 2 + 4 * 256 // 2),
        ("gptq", 65536 + 4 * 256 * 2 + 4 * 256 // 2 + 512 * 4),
        ("nvfp4", 65536 + 8192 + 8),
        ("q8_0", 131072 // 32 * 34),
        ("q4_0", 131072 // 32 * 18),
    ],
)
def test_a_packed_matrix_has_its_scales_and_zero_points(scheme: str, expected: int) -> None:
    assert tensor_bytes((256, 512), "matrix", TWO, SCHEMES[scheme]) == expected


def test_what_a_scheme_does_not_pack_keeps_its_format() -> None:
    for kind in ("embedding", "head", "router"):
        assert tensor_bytes((8, 64), kind, TWO, SCHEMES["awq"]) == 8 * 64 * 2
    assert tensor_bytes((64,), "vector", TWO, SCHEMES["q4_0"]) == 128
    assert tensor_bytes((4, 8, 64), "expert", TWO, SCHEMES["mxfp4"]) == 4 * (256 + 16)
    assert tensor_bytes((8, 64), "matrix", TWO, SCHEMES["mxfp4"]) == 8 * 64 * 2


def test_stages_are_even_and_the_ends_get_no_more() -> None:
    assert [len(r) for r in stage_layers(61, 2)] == [31, 30]
    assert [len(r) for r in stage_layers(62, 4)] == [15, 16, 16, 15]
    for pipeline in range(1, 9):
        layers = [i for r in stage_layers(30, pipeline) for i in r]
        assert layers == list(range(30))


def test_a_stage_with_a_tied_head_has_a_copy_of_the_embedding() -> None:
    model = llama(tie_word_embeddings=True)
    machine = own_gpus("L4", 2)
    asked = FitRequest(model=model, machine=machine, engine="vllm", tensor=1, pipeline=2)
    first, last = stages(asked, outline(model), Layout(1, 2))
    embedding = 128256 * 4096 * 2
    assert first.weight_bytes + last.weight_bytes == parameter_count(model) * 2 + embedding


BUDGET = {
    "kind": "gpu",
    "device_total_bytes": 24 * GIB,
    "device_free_bytes": 23 * GIB,
    "degree": 1,
    "dtype": "bfloat16",
    "max_num_seqs": 8,
    "max_batch_tokens": 1024,
    "memory_fraction": 0.95,
}


def test_a_budget_is_used_and_not_exceeded() -> None:
    budget = engine_budget(llama(), max_model_len=8192, **BUDGET)  # type: ignore[arg-type]
    serving = sum(term.bytes for term in budget.terms if not term.starting)
    per_block = 16 * 128 * 1024
    assert budget.bytes["kv cache"] == budget.blocks * per_block
    assert serving <= budget.room < serving + per_block
    assert budget.max_model_len == 8192


def test_a_budget_is_the_same_before_and_after_loading() -> None:
    before = engine_budget(llama(), max_model_len=8192, **BUDGET)  # type: ignore[arg-type]
    weights = before.bytes["weights"]
    changed = BUDGET | {"device_free_bytes": 23 * GIB - weights, "loaded_bytes": weights}
    after = engine_budget(llama(), max_model_len=8192, **changed)  # type: ignore[arg-type]
    assert after.blocks == before.blocks


def test_a_budget_never_has_more_blocks_than_can_be_used() -> None:
    changed = BUDGET | {"device_total_bytes": 141 * GIB, "device_free_bytes": 140 * GIB}
    budget = engine_budget(llama(), max_model_len=512, **changed)  # type: ignore[arg-type]
    assert budget.blocks == 8 * 512 // 16


def test_a_small_device_gets_shorter_sequences() -> None:
    changed = BUDGET | {"device_free_bytes": 19 * GIB}
    budget = engine_budget(llama(), max_model_len=131072, **changed)  # type: ignore[arg-type]
    assert 512 <= budget.max_model_len < 131072
    assert budget.blocks * 16 >= budget.max_model_len


def test_gathering_in_parts_leaves_room_for_longer_sequences() -> None:
    many = BUDGET | {"max_num_seqs": 64}
    whole = engine_budget(llama(), max_model_len=131072, **many)  # type: ignore[arg-type]
    parts = engine_budget(
        llama(),
        max_model_len=131072,
        gather_tokens=16384,
        **many,  # type: ignore[arg-type]
    )
    assert parts.max_model_len > 2 * whole.max_model_len


def test_the_scores_of_a_long_prompt_are_those_of_one_piece_of_it() -> None:
    """A model of 4B at 262,144 tokens was said to need 72 GiB for them."""
    numbers = llama(
        hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, head_dim=128,
        vocab_size=151936, max_position_embeddings=262144,
    )  # fmt: skip
    machine = own_gpus("NVIDIA-H100-80GB-HBM3", 1)
    verdict = fit(FitRequest(model=numbers, machine=machine, context=262144, concurrency=1))
    assert verdict.outcome == "fits"
    assert verdict.worst is not None
    reach, heads, kv, dim = 262144, 32, 8, 128
    widened = 2 * kv * dim * 4 * reach
    row = reach * (8 * heads + 5 * 4)
    decode = reach * (8 * heads + 2 * kv * dim * 4)
    # The engine's own bound: SCORE_BYTES is less than four of these rows.
    assert rows_at_once(heads, kv, reach) == SCORE_BYTES // row == 3
    assert verdict.worst.of("attention scores") == max(SCORE_BYTES + widened, decode)


ON_CPU: dict[str, Any] = {
    "kind": "cpu",
    "device_total_bytes": 64 * GIB,
    "device_free_bytes": 60 * GIB,
    "degree": 1,
    "dtype": "bfloat16",
    "max_num_seqs": 64,
    "max_batch_tokens": 1024,
}


def _left(budget: EngineBudget) -> int:
    """Bytes that weights and a step leave of what the engine may take."""
    beside = sum(t.bytes for t in budget.terms if not t.starting and t.name != "kv cache")
    return budget.room - beside


def test_the_cache_on_a_machine_of_others_is_a_quarter_of_what_is_left() -> None:
    budget = engine_budget(llama(), max_model_len=8192, shared=True, **ON_CPU)
    per_block = 16 * 128 * 1024
    assert budget.max_model_len == 8192
    assert budget.blocks == _left(budget) // per_block // 4
    assert budget.blocks * 16 > 8192, "which is more than the longest sequence needs"
    assert "25% of what is left" in budget.cache_rule


def test_the_cache_on_a_machine_of_others_holds_one_sequence_at_its_longest() -> None:
    budget = engine_budget(llama(), max_model_len=131072, shared=True, **ON_CPU)
    assert budget.max_model_len == 131072
    assert budget.blocks == 131072 // 16
    assert budget.blocks * 16 * 128 * 1024 > _left(budget) / 4
    assert "one sequence at its longest" in budget.cache_rule


def test_a_limit_of_ones_own_or_a_fraction_gives_the_cache_all_that_is_left() -> None:
    per_block = 16 * 128 * 1024
    for more in ({"shared": False}, {"shared": True, "memory_fraction": 0.9}):
        budget = engine_budget(llama(), max_model_len=131072, **ON_CPU | more)
        assert budget.blocks == _left(budget) // per_block


def test_an_operators_own_cache_size_is_taken() -> None:
    budget = engine_budget(
        llama(),
        max_model_len=4096,
        kv_cache_bytes=100 * MIB,
        **BUDGET,  # type: ignore[arg-type]
    )
    assert budget.blocks == 100 * MIB // (16 * 128 * 1024)


def test_what_cannot_fit_is_refused_with_its_terms() -> None:
    changed = BUDGET | {"device_free_bytes": 15 * GIB}
    with pytest.raises(CannotFit, match="the model does not fit: ") as caught:
        engine_budget(llama(), max_model_len=4096, **changed)  # type: ignore[arg-type]
    assert any("weights: 15.0 GiB" in line for line in caught.value.lines)


def test_a_degree_that_cannot_be_is_refused() -> None:
    with pytest.raises(FitInputError, match="32 heads are not divisible"):
        engine_budget(llama(), max_model_len=4096, **(BUDGET | {"degree": 3}))  # type: ignore[arg-type]
