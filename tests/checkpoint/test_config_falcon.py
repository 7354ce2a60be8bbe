"""Falcon's config.json, of every generation, is read as transformers reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.hf import CLASSES, from_hf
from berth.models.decoder import Decoder
from berth.models.registry import model_class
from models.checkpoints import save_transformers

FALCON_7B: dict[str, Any] = {
    "alibi": False,
    "architectures": ["FalconForCausalLM"],
    "bias": False,
    "bos_token_id": 11,
    "eos_token_id": 11,
    "hidden_size": 4544,
    "layer_norm_epsilon": 1e-05,
    "model_type": "falcon",
    "multi_query": True,
    "new_decoder_architecture": False,
    "num_attention_heads": 71,
    "num_hidden_layers": 32,
    "num_kv_heads": 71,
    "parallel_attn": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 65024,
}
FALCON_40B = FALCON_7B | {
    "hidden_size": 8192,
    "new_decoder_architecture": True,
    "num_attention_heads": 128,
    "num_hidden_layers": 60,
    "num_kv_heads": 8,
}
FALCON_RW = FALCON_7B | {
    "alibi": True,
    "bias": True,
    "hidden_size": 2048,
    "multi_query": False,
    "num_attention_heads": 32,
    "num_kv_heads": 32,
    "parallel_attn": False,
}


def test_falcon_7b_has_one_kv_head_whatever_its_file_says() -> None:
    config = from_hf(FALCON_7B)
    assert (config.architecture, config.vocab_size, config.hidden_size) == ("falcon", 65024, 4544)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (71, 1, 64)
    assert (config.intermediate_size, config.num_layers) == (4 * 4544, 32)
    assert (config.parallel_attention, config.norms_per_layer, config.alibi) == (True, 1, False)
    assert (config.max_position, config.norm_eps, config.rope_theta) == (2048, 1e-5, 10000.0)
    assert (config.bos_id, config.eos_ids, config.dtype) == (11, (11,), "bfloat16")
    assert config.tie_embeddings
    assert not any((config.qkv_bias, config.out_bias, config.mlp_bias))


def test_falcon_40b_has_groups_of_heads_and_a_norm_for_each_side() -> None:
    config = from_hf(FALCON_40B)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (128, 8, 64)
    assert (config.parallel_attention, config.norms_per_layer) == (True, 2)
    assert from_hf(FALCON_40B | {"num_ln_in_parallel_attn": 1}).norms_per_layer == 1


def test_falcon_rw_has_a_kv_head_each_alibi_and_biases() -> None:
    config = from_hf(FALCON_RW | {"num_kv_heads": None})
    assert (config.num_heads, config.num_kv_heads, config.alibi) == (32, 32, True)
    assert (config.parallel_attention, config.norms_per_layer) == (False, 2)
    assert all((config.qkv_bias, config.out_bias, config.mlp_bias))


def test_falcon_2_may_name_mlp_width_theta_and_an_untied_head() -> None:
    change = {"ffn_hidden_size": 16384, "rope_theta": 500042.0, "tie_word_embeddings": False}
    config = from_hf(FALCON_40B | change | {"max_position_embeddings": 8192})
    assert (config.intermediate_size, config.rope_theta) == (16384, 500042.0)
    assert (config.tie_embeddings, config.max_position) == (False, 8192)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"activation": "relu"}, 'activation is "relu": only gelu', id="activation"),
        pytest.param({"hidden_size": 4545}, "multiple of num_attention_heads 71", id="heads"),
        pytest.param({"multi_query": "yes"}, 'multi_query is "yes"', id="text"),
        pytest.param(
            {"multi_query": False, "num_kv_heads": 1}, "num_kv_heads is 1", id="multi-head"
        ),
        pytest.param({"num_ln_in_parallel_attn": 2}, "it must be 1 without", id="two-norms"),
        pytest.param(
            {"new_decoder_architecture": True, "parallel_attn": False},
            "parallel_attn is false: with new_decoder_architecture it must be true",
            id="new-and-sequential",
        ),
        pytest.param(
            {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 3},
            "it must be 1 or 2",
            id="three-norms",
        ),
        pytest.param(
            {"new_decoder_architecture": True, "num_kv_heads": 70}, "70 key/value", id="groups"
        ),
        pytest.param(
            {"quantization_config": {"quant_method": "gptq"}}, "quantised weights", id="quantised"
        ),
        pytest.param(
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, '"dynamic"', id="rope"
        ),
    ],
)
def test_what_is_not_computed_is_refused_by_key_and_value(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        from_hf(FALCON_7B | change)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"new_decoder_architecture": True, "num_kv_heads": 2},
        {"alibi": True, "bias": True, "multi_query": False, "parallel_attn": False},
        {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1, "num_kv_heads": None},
    ],
    ids=["7b", "40b", "rw", "11b"],
)
def test_what_transformers_saves_is_read_with_its_numbers(
    change: dict[str, Any], tmp_path: Path
) -> None:
    model = save_transformers(tmp_path, "falcon", **change)
    config = from_hf(json.loads((tmp_path / "config.json").read_text()))
    theirs, attention = model.config, model.transformer.h[0].self_attention
    assert config.hidden_size == theirs.hidden_size
    assert config.intermediate_size == theirs.ffn_hidden_size
    assert config.head_dim == attention.head_dim
    assert config.num_kv_heads == attention.num_kv_heads
    assert config.qkv_bias == (attention.query_key_value.bias is not None)
    norms = [name for name, _ in model.transformer.h[0].named_children() if "ln_" in name]
    norms += [name for name, _ in model.transformer.h[0].named_children() if "layernorm" in name]
    assert config.norms_per_layer == len(norms)
    assert config.alibi == theirs.alibi
    assert config.rope_theta == theirs.rope_parameters["rope_theta"]
    assert config.dtype == "float32"


def test_absent_keys_take_transformers_defaults() -> None:
    import transformers

    needed = {
        "model_type": "falcon",
        "vocab_size": 1000,
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    ours = from_hf(needed)
    theirs = transformers.FalconConfig(**{k: v for k, v in needed.items() if k != "model_type"})
    assert ours.intermediate_size == theirs.ffn_hidden_size
    assert ours.max_position == theirs.max_position_embeddings
    assert ours.norm_eps == theirs.layer_norm_epsilon
    assert ours.tie_embeddings == theirs.tie_word_embeddings
    assert (ours.bos_id, ours.eos_ids) == (theirs.bos_token_id, (theirs.eos_token_id,))
    assert (ours.alibi, ours.qkv_bias) == (theirs.alibi, theirs.bias)
    assert ours.num_kv_heads == 1
    assert theirs.multi_query
    assert ours.parallel_attention == theirs.parallel_attn


def test_every_architecture_that_is_read_has_a_module() -> None:
    for name, architecture in CLASSES.items():
        extra = {"intermediate_size": 512, "num_key_value_heads": 2, "head_dim": 16}
        config = from_hf(
            {"architectures": [name], "vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 1}
            | {"num_attention_heads": 4}
            | extra
        )
        assert config.architecture == architecture
        assert issubclass(model_class(config), Decoder)
        assert model_class(config).__name__.lower()[:4] in (architecture[:4], "llam")
