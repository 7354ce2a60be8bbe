"""Counts, cache sizes and sharding that follow from a model's numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.checkpoint.errors import ConfigError, UnknownArchitecture
from berth.checkpoint.numbers import (
    Attention,
    LatentAttention,
    Layer,
    LinearAttention,
    ModelNumbers,
    Tensor,
    cached_per_token,
    from_config_json,
    parameter_count,
    state_elements,
    tensors,
)

LLAMA_3_1_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
DEEPSEEK_V3: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "vocab_size": 129280,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "num_nextn_predict_layers": 1,
    "quantization_config": {"quant_method": "fp8"},
}


def changed(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (config | changes).items() if value is not ...}


@st.composite
def decoders(draw: st.DrawFn) -> dict[str, Any]:
    kv_heads = draw(st.integers(1, 8))
    return {
        "architectures": [draw(st.sampled_from(["LlamaForCausalLM", "Qwen2ForCausalLM"]))],
        "hidden_size": draw(st.integers(1, 64)) * 8,
        "intermediate_size": draw(st.integers(1, 512)),
        "num_hidden_layers": draw(st.integers(1, 6)),
        "num_attention_heads": kv_heads * draw(st.integers(1, 4)),
        "num_key_value_heads": kv_heads,
        "head_dim": draw(st.integers(1, 32)),
        "vocab_size": draw(st.integers(1, 500)),
        "tie_word_embeddings": draw(st.booleans()),
    }


@given(decoders())
def test_the_count_is_the_closed_formula_of_a_plain_decoder(config: dict[str, Any]) -> None:
    numbers = from_config_json(config)
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    biases = queries + 2 * keys if config["architectures"] == ["Qwen2ForCausalLM"] else 0
    layer = 2 * hidden * (queries + keys) + biases + 3 * hidden * wide + 2 * hidden
    table = config["vocab_size"] * hidden
    expected = config["num_hidden_layers"] * layer + hidden
    expected += table if config["tie_word_embeddings"] else 2 * table
    assert parameter_count(numbers) == expected


@given(decoders())
def test_every_sharded_tensor_falls_into_whole_units(config: dict[str, Any]) -> None:
    for tensor in tensors(from_config_json(config)):
        assert tensor.elements == math.prod(tensor.shape) > 0
        if tensor.shard is None:
            assert tensor.units == 1
        else:
            assert tensor.shape[tensor.shard] % tensor.units == 0


@given(decoders())
def test_names_are_unique_and_tell_the_layer(config: dict[str, Any]) -> None:
    found = list(tensors(from_config_json(config)))
    assert len({tensor.name for tensor in found}) == len(found)
    for tensor in found:
        if tensor.layer is not None:
            assert tensor.name.startswith(f"layers.{tensor.layer}.")


@given(decoders(), st.data())
@settings(max_examples=60)
def test_a_missing_number_is_named_and_not_guessed(
    config: dict[str, Any], data: st.DataObject
) -> None:
    key = data.draw(
        st.sampled_from(
            [
                "hidden_size",
                "intermediate_size",
                "num_attention_heads",
                "num_hidden_layers",
                "vocab_size",
            ]
        )
    )
    config["num_hidden_layers"] = 1  # a layer reads its keys
    with pytest.raises(ConfigError, match=f"^config.json: {key} is missing"):
        from_config_json(changed(config, **{key: ...}))
    with pytest.raises(
        ConfigError, match=f'^config.json: {key} is "a lot": it must be a whole number'
    ):
        from_config_json(changed(config, **{key: "a lot"}))


def test_grouped_heads_keep_their_keys_and_values() -> None:
    numbers = from_config_json(LLAMA_3_1_8B)
    assert parameter_count(numbers) == 8_030_261_248
    assert [cached_per_token(layer) for layer in numbers.layers] == [2 * 8 * 128] * 32
    assert numbers.context == 131072
    assert numbers.dtype == "bfloat16"
    assert (numbers.heads, numbers.kv_heads, numbers.intermediate) == (32, 8, 14336)


@pytest.mark.parametrize(("kv_heads", "kind"), [(32, "full"), (8, "grouped"), (1, "multi-query")])
def test_the_kind_of_attention_follows_from_its_heads(kv_heads: int, kind: str) -> None:
    mixer = from_config_json(changed(LLAMA_3_1_8B, num_key_value_heads=kv_heads)).layers[0].mixer
    assert isinstance(mixer, Attention)
    assert mixer.kind == kind


def test_latent_attention_keeps_one_small_vector() -> None:
    numbers = from_config_json(DEEPSEEK_V3)
    assert parameter_count(numbers) == 671_026_419_200
    assert {cached_per_token(layer) for layer in numbers.layers} == {512 + 64}
    assert isinstance(numbers.layers[0].mixer, LatentAttention)
    assert numbers.unused == ("1 layers for multi-token prediction",)
    assert numbers.quantization == "fp8"
    assert numbers.missing == ()
    experts = [t for t in tensors(numbers) if t.name == "layers.3.moe.experts.gate"]
    assert experts == [Tensor("layers.3.moe.experts.gate", (256, 2048, 7168), 1, 2048, "expert", 3)]


def test_windows_alternate_as_the_family_has_them() -> None:
    base = {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 10,
    }

    def windows(name: str, layers: int, **more: Any) -> list[int | None]:
        config = base | {"architectures": [name], "num_hidden_layers": layers} | more
        mixers = [layer.mixer for layer in from_config_json(config).layers]
        return [mixer.window for mixer in mixers if isinstance(mixer, Attention)]

    assert windows("Gemma2ForCausalLM", 4) == [4096, None, 4096, None]
    assert windows("GptOssForCausalLM", 3) == [128, None, 128]
    assert windows("Gemma3ForCausalLM", 7, sliding_window=512) == [512] * 5 + [None, 512]
    assert windows("MistralForCausalLM", 2) == [4096, 4096]
    assert windows("MistralForCausalLM", 2, sliding_window=None) == [None, None]
    assert windows("Phi3ForCausalLM", 1, sliding_window=262144) == [None]
    assert windows("Phi3ForCausalLM", 1, sliding_window=2047) == [2047]
    qwen = {"sliding_window": 100, "max_window_layers": 1}
    assert windows("Qwen2ForCausalLM", 2, **qwen) == [None, None]
    assert windows("Qwen2ForCausalLM", 2, use_sliding_window=True, **qwen) == [None, 100]
    kinds = ["full_attention", "sliding_attention"]
    assert windows("GptOssForCausalLM", 2, layer_types=kinds) == [None, 128]


def test_a_state_of_fixed_size_adds_nothing_to_the_cache() -> None:
    layer = Layer(
        mixer=LinearAttention(key_heads=2, value_heads=4, key_dim=8, value_dim=16, conv_kernel=4),
        feed_forward=None,
    )
    assert cached_per_token(layer) == 0
    assert state_elements(layer) == (4 * 8 * 16, (2 * 2 * 8 + 4 * 16) * 3)


def test_layers_that_share_a_cache_add_nothing_to_it() -> None:
    numbers = from_config_json(
        {
            "architectures": ["Gemma4ForCausalLM"],
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 6,
            "num_kv_shared_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"] * 2,
        }
    )
    mixers = [layer.mixer for layer in numbers.layers]
    assert [m.cache_of for m in mixers if isinstance(m, Attention)] == [None] * 3 + [2, 1, 1]
    assert [cached_per_token(layer) > 0 for layer in numbers.layers] == [True] * 3 + [False] * 3


def test_an_encoder_keeps_nothing_and_has_no_head() -> None:
    numbers = from_config_json(
        {
            "architectures": ["XLMRobertaModel"],
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "vocab_size": 250002,
            "type_vocab_size": 1,
            "max_position_embeddings": 514,
            "pad_token_id": 1,
        }
    )
    assert parameter_count(numbers) == 559_890_432
    assert not numbers.generates
    assert numbers.context == 512
    assert sum(cached_per_token(layer) for layer in numbers.layers) == 0


@pytest.mark.parametrize("config", [{"architectures": ["Foo"]}, {"model_type": "Foo"}])
def test_an_architecture_that_is_not_known_is_named(config: dict[str, Any]) -> None:
    with pytest.raises(UnknownArchitecture, match="Foo") as caught:
        from_config_json(config)
    assert caught.value.architecture == "Foo"


def test_a_file_that_names_no_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^config\.json: architectures is missing"):
        from_config_json({"hidden_size": 8})


def test_a_tower_that_is_not_known_is_named_as_missing() -> None:
    text = changed(LLAMA_3_1_8B, architectures=..., model_type="gemma4_text")
    config = {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "text_config": text,
        "vision_config": {"hidden_size": 8},
        "audio_config": {"hidden_size": 8},
    }
    assert from_config_json(config).missing == ("a vision tower", "an audio tower")


def test_linear_scaling_makes_the_context_longer() -> None:
    scaled = changed(
        LLAMA_3_1_8B,
        max_position_embeddings=4096,
        rope_scaling={"type": "linear", "factor": 4.0},
    )
    assert from_config_json(scaled).context == 16384


def test_a_model_may_be_built_without_any_file() -> None:
    numbers = ModelNumbers(architecture="mine", hidden=4, vocab=3, layers=(), context=None)
    assert parameter_count(numbers) == 2 * 3 * 4 + 4
    assert numbers.intermediate == numbers.heads == numbers.kv_heads == 0
