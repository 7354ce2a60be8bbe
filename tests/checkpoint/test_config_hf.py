"""config.json of transformers 4 and 5 is read as transformers itself reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.checkpoint.architectures import by_class
from berth.checkpoint.config import RopeScaling
from berth.checkpoint.describe import describe_hf
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.hf import CLASSES, from_hf, to_hf
from berth.checkpoint.numbers import from_config_json, numbers_of
from models.checkpoints import save_transformers, tiny_config

LLAMA_2_7B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "vocab_size": 32000,
}
LLAMA_3_SCALING = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
MISTRAL = LLAMA_2_7B | {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "num_key_value_heads": 8,
    "sliding_window": 4096,
}
QWEN_2 = LLAMA_2_7B | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "max_window_layers": 20,
    "sliding_window": 512,
    "use_sliding_window": True,
}
QWEN_3 = LLAMA_2_7B | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_size": 1024,
    "tie_word_embeddings": True,
}


def test_llama_2_has_the_numbers_of_its_file() -> None:
    config = from_hf(LLAMA_2_7B)
    assert (config.architecture, config.vocab_size, config.hidden_size) == ("llama", 32000, 4096)
    assert (config.intermediate_size, config.num_layers) == (11008, 32)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (32, 32, 128)
    assert (config.max_position, config.norm_eps, config.rope_theta) == (4096, 1e-5, 10000.0)
    assert (config.bos_id, config.eos_ids, config.dtype) == (1, (2,), "float16")
    assert config.rope_scaling is None
    assert config.windows == ()
    flags = (config.qkv_bias, config.out_bias, config.mlp_bias, config.qk_norm)
    assert not any((*flags, config.tie_embeddings, config.rope_interleaved))


def test_old_and_new_rope_keys_say_the_same() -> None:
    expected = RopeScaling(
        kind="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position=8192,
    )
    four = LLAMA_2_7B | {"rope_theta": 500000.0, "rope_scaling": LLAMA_3_SCALING}
    five = {k: v for k, v in LLAMA_2_7B.items() if k not in ("rope_scaling", "torch_dtype")} | {
        "rope_parameters": LLAMA_3_SCALING | {"rope_theta": 500000.0},
        "dtype": "float16",
    }
    assert from_hf(four) == from_hf(five)
    assert from_hf(four).rope_scaling == expected
    assert from_hf(four).rope_theta == 500000.0


def test_linear_scaling_stretches_the_context() -> None:
    config = from_hf(LLAMA_2_7B | {"rope_scaling": {"type": "linear", "factor": 4.0}})
    assert config.rope_scaling == RopeScaling(kind="linear", factor=4.0)
    assert config.max_position == 16384
    assert to_hf(config)["max_position_embeddings"] == 4096


@pytest.mark.parametrize("rope", [{"rope_type": "default"}, {"type": "default"}, {}, None])
def test_default_rope_is_no_scaling(rope: dict[str, Any] | None) -> None:
    assert from_hf(LLAMA_2_7B | {"rope_scaling": rope}).rope_scaling is None


@pytest.mark.parametrize("kind", ["dynamic", "proportional", "ntk"])
@pytest.mark.parametrize("key", ["rope_type", "type"])
def test_rope_of_another_kind_is_refused_by_key_and_value(kind: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf'rope_scaling\.{key} is "{kind}": known are default'):
        from_hf(LLAMA_2_7B | {"rope_scaling": {key: kind, "factor": 2.0}})


def test_mistral_slides_in_every_layer() -> None:
    assert from_hf(MISTRAL).windows == (4096,) * 32
    assert from_hf(MISTRAL | {"sliding_window": None}).windows == ()
    assert not from_hf(MISTRAL).qkv_bias


def test_qwen_2_slides_from_max_window_layers_on() -> None:
    config = from_hf(QWEN_2)
    assert config.windows == (None,) * 20 + (512,) * 12
    assert (config.qkv_bias, config.out_bias, config.mlp_bias) == (True, False, False)
    assert from_hf(QWEN_2 | {"use_sliding_window": False}).windows == ()
    assert from_hf(QWEN_2 | {"max_window_layers": 32}).windows == ()
    assert from_hf(QWEN_2 | {"max_window_layers": 0}).windows == (512,) * 32


def test_layer_types_win_over_max_window_layers() -> None:
    kinds = ["sliding_attention", "full_attention"] * 16
    assert from_hf(QWEN_2 | {"layer_types": kinds}).windows == (512, None) * 16
    with pytest.raises(ConfigError, match="use_sliding_window true"):
        from_hf(QWEN_2 | {"layer_types": kinds, "use_sliding_window": False})
    with pytest.raises(ConfigError, match="each of the 32 layers"):
        from_hf(QWEN_2 | {"layer_types": kinds[:30]})
    with pytest.raises(ConfigError, match="known are full_attention"):
        from_hf(QWEN_2 | {"layer_types": ["chunked_attention"] * 32})


def test_qwen_3_norms_queries_and_has_its_own_head_dim() -> None:
    config = from_hf(QWEN_3)
    assert (config.qk_norm, config.head_dim, config.tie_embeddings) == (True, 128, True)
    assert (config.qkv_bias, config.out_bias) == (False, False)
    biased = from_hf(QWEN_3 | {"attention_bias": True})
    assert (biased.qkv_bias, biased.out_bias) == (True, True)


def test_llama_may_have_biases_and_a_head_dim() -> None:
    config = from_hf(LLAMA_2_7B | {"attention_bias": True, "mlp_bias": True, "head_dim": 64})
    assert (config.qkv_bias, config.out_bias, config.mlp_bias) == (True, True, True)
    assert config.head_dim == 64


def test_eos_ids_come_from_the_generation_config_first() -> None:
    assert from_hf(LLAMA_2_7B | {"eos_token_id": [5, 6]}).eos_ids == (5, 6)
    assert from_hf(LLAMA_2_7B, {"eos_token_id": [7, 8, 9]}).eos_ids == (7, 8, 9)
    assert from_hf(LLAMA_2_7B, {"eos_token_id": 7}).eos_ids == (7,)
    assert from_hf(LLAMA_2_7B, {"temperature": 0.6}).eos_ids == (2,)


def test_one_class_is_as_good_as_a_list_of_one() -> None:
    """transformers loads either: it goes by model_type."""
    for config in (LLAMA_2_7B, QWEN_3):
        (name,) = config["architectures"]
        assert from_hf(config | {"architectures": name}) == from_hf(config)
        assert describe_hf(config | {"architectures": name}) == describe_hf(config)
    with pytest.raises(ConfigError, match="GPT2LMHeadModel"):
        from_hf(QWEN_3 | {"architectures": "GPT2LMHeadModel"})


def test_model_type_does_where_architectures_is_missing() -> None:
    config = {k: v for k, v in QWEN_3.items() if k != "architectures"}
    assert from_hf(config).architecture == "qwen3"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"architectures": ["BloomForCausalLM"]}, "BloomForCausalLM", id="class"),
        pytest.param({"architectures": None, "model_type": "gpt2"}, '"gpt2"', id="model-type"),
        pytest.param({"architectures": None, "model_type": None}, "is missing", id="no-class"),
        pytest.param({"hidden_size": None}, "hidden_size is missing", id="missing"),
        pytest.param({"hidden_size": "4096"}, 'hidden_size is "4096"', id="text"),
        pytest.param({"hidden_size": 4095}, "hidden_size is 4095", id="heads"),
        pytest.param({"num_hidden_layers": 0}, "num_hidden_layers is 0", id="zero"),
        pytest.param({"num_hidden_layers": True}, "num_hidden_layers is true", id="flag"),
        pytest.param({"rms_norm_eps": float("nan")}, "rms_norm_eps is NaN", id="nan"),
        pytest.param({"rms_norm_eps": float("inf")}, "rms_norm_eps is Infinity", id="inf"),
        pytest.param({"num_key_value_heads": 5}, "share 5 key/value heads", id="kv-heads"),
        pytest.param({"head_dim": 7}, "head dimension is 7", id="odd-head"),
        pytest.param({"hidden_act": "gelu"}, 'hidden_act is "gelu"', id="activation"),
        pytest.param({"torch_dtype": "int8"}, 'torch_dtype is "int8"', id="dtype"),
        pytest.param({"eos_token_id": [2, "x"]}, "eos_token_id is", id="eos"),
        pytest.param({"bos_token_id": [1, 2]}, "bos_token_id is", id="bos"),
        pytest.param({"tie_word_embeddings": "no"}, "tie_word_embeddings is", id="not-a-flag"),
        pytest.param({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5", id="partial"),
        pytest.param({"rope_scaling": "linear"}, "rope_scaling is", id="rope-text"),
        pytest.param(
            {"rope_scaling": {"type": "linear"}}, r"rope_scaling\.factor is missing", id="factor"
        ),
        pytest.param(
            {"rope_scaling": LLAMA_3_SCALING | {"low_freq_factor": 4.0}},
            "it must be below high_freq_factor",
            id="frequencies",
        ),
        pytest.param(
            {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
            "rope_parameters is .*all layers",
            id="rope-per-layer",
        ),
        pytest.param(
            {"quantization_config": {"quant_method": "gptq"}}, "quantised weights", id="quantised"
        ),
    ],
)
def test_what_is_not_understood_is_refused_by_key_and_value(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        from_hf(LLAMA_2_7B | change)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_what_transformers_saves_is_read_with_its_numbers(
    architecture: str, tmp_path: Path
) -> None:
    model = save_transformers(
        tmp_path, architecture, rope_parameters={"rope_type": "linear", "factor": 2.0}
    )
    config = from_hf(json.loads((tmp_path / "config.json").read_text()))
    theirs = model.config
    assert config.architecture == architecture
    assert config.hidden_size == theirs.hidden_size
    assert config.intermediate_size == theirs.intermediate_size
    assert config.num_kv_heads == theirs.num_key_value_heads
    assert config.head_dim == model.model.layers[0].self_attn.head_dim
    assert config.norm_eps == theirs.rms_norm_eps
    assert config.rope_theta == theirs.rope_parameters["rope_theta"]
    assert config.rope_scaling == RopeScaling(kind="linear", factor=2.0)
    assert config.window(1) == getattr(theirs, "sliding_window", None)
    assert config.qkv_bias == (model.model.layers[0].self_attn.q_proj.bias is not None)
    assert config.out_bias == (model.model.layers[0].self_attn.o_proj.bias is not None)
    assert config.dtype == "float32"


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_absent_keys_take_transformers_defaults(architecture: str) -> None:
    import transformers

    needed: dict[str, Any] = {
        "model_type": architecture,
        "vocab_size": 1000,
        "hidden_size": 4096,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 32,
    }
    ours = from_hf(needed)
    theirs = transformers.AutoConfig.for_model(**needed)
    assert ours.num_kv_heads == theirs.num_key_value_heads
    assert ours.head_dim == getattr(theirs, "head_dim", 128)
    assert ours.max_position == theirs.max_position_embeddings
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert ours.window(0) == getattr(theirs, "sliding_window", None)
    assert ours.tie_embeddings == theirs.tie_word_embeddings
    assert ours.bos_id == theirs.bos_token_id
    assert ours.eos_ids == (() if theirs.eos_token_id is None else (theirs.eos_token_id,))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"architecture": "mistral", "windows": (6, 6)},
        {"rope_scaling": RopeScaling(kind="linear", factor=2.0), "max_position": 8192},
        {"rope_scaling": RopeScaling(kind="llama3", factor=8.0), "rope_theta": 500000.0},
        {"eos_ids": (2, 3), "tie_embeddings": True, "head_dim": 16},
        {"qkv_bias": True, "out_bias": True, "mlp_bias": True},
    ],
    ids=["plain", "window", "linear", "llama3", "eos-tied", "biases"],
)
def test_what_is_written_is_read_back_the_same(changes: dict[str, Any]) -> None:
    config = tiny_config(**changes)
    assert from_hf(to_hf(config)) == config


@pytest.mark.parametrize("name", sorted(CLASSES))
@given(data=st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fits_sizes_are_those_of_what_the_engine_computes(name: str, data: st.DataObject) -> None:
    heads = data.draw(st.sampled_from([2, 4, 8]))
    config = {
        "architectures": [name],
        "hidden_size": heads * data.draw(st.sampled_from([2, 8, 16])),
        "intermediate_size": data.draw(st.integers(1, 64)),
        "num_hidden_layers": data.draw(st.integers(1, 4)),
        "num_attention_heads": heads,
        "num_key_value_heads": heads // data.draw(st.sampled_from([1, 2])),
        "vocab_size": data.draw(st.integers(1, 500)),
        **data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "tie_word_embeddings": st.booleans(),
                    "attention_bias": st.booleans(),
                    "mlp_bias": st.booleans(),
                    "sliding_window": st.sampled_from([None, 7]),
                    "use_sliding_window": st.booleans(),
                    "max_window_layers": st.integers(0, 5),
                    "max_position_embeddings": st.integers(1, 100),
                    "rope_scaling": st.sampled_from([None, {"type": "linear", "factor": 2.5}]),
                    "torch_dtype": st.sampled_from(["float32", "bfloat16", "torch.float16"]),
                    "multi_query": st.booleans(),
                    "new_decoder_architecture": st.booleans(),
                    "bias": st.booleans(),
                    "alibi": st.booleans(),
                },
            )
        ),
    }
    sizes = from_config_json(config)
    try:
        computed = numbers_of(from_hf(config))
    except ConfigError:
        return  # refused: there is nothing to compare
    known = by_class()[name].name
    assert computed == replace(sizes, architecture=known, dtype=sizes.dtype or "float32")
