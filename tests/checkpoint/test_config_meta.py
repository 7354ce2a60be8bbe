"""params.json of every generation gives the numbers that Meta published the model with."""

from __future__ import annotations

from typing import Any

import pytest

from berth.checkpoint.config import RopeScaling
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.meta import from_meta, to_meta
from models.checkpoints import tiny_config

LLAMA_1_7B: dict[str, Any] = {
    "dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32,
    "norm_eps": 1e-06, "vocab_size": -1,
}  # fmt: skip
LLAMA_1_65B = LLAMA_1_7B | {"dim": 8192, "n_heads": 64, "n_layers": 80, "norm_eps": 1e-05}
LLAMA_2_7B = LLAMA_1_7B | {"norm_eps": 1e-05}
LLAMA_2_13B = LLAMA_2_7B | {"dim": 5120, "n_heads": 40, "n_layers": 40}
LLAMA_2_70B: dict[str, Any] = {
    "dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3, "n_heads": 64,
    "n_kv_heads": 8, "n_layers": 80, "norm_eps": 1e-05, "vocab_size": -1,
}  # fmt: skip
LLAMA_3_8B: dict[str, Any] = {
    "dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256,
    "multiple_of": 1024, "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0,
}  # fmt: skip
LLAMA_31_8B = LLAMA_3_8B | {"use_scaled_rope": True}
LLAMA_32_1B = LLAMA_31_8B | {
    "dim": 2048, "n_layers": 16, "ffn_dim_multiplier": 1.5, "multiple_of": 256
}  # fmt: skip
MISTRAL_7B: dict[str, Any] = {
    "dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32,
    "n_kv_heads": 8, "norm_eps": 1e-05, "sliding_window": 4096, "vocab_size": 32000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("params", "width", "kv_heads", "context"),
    [
        pytest.param(LLAMA_1_7B, 11008, 32, 2048, id="llama-7b"),
        pytest.param(LLAMA_1_65B, 22016, 64, 2048, id="llama-65b"),
        pytest.param(LLAMA_2_7B, 11008, 32, 4096, id="llama-2-7b"),
        pytest.param(LLAMA_2_13B, 13824, 40, 4096, id="llama-2-13b"),
        pytest.param(LLAMA_2_70B, 28672, 8, 4096, id="llama-2-70b"),
        pytest.param(LLAMA_3_8B, 14336, 8, 8192, id="llama-3-8b"),
        pytest.param(LLAMA_31_8B, 14336, 8, 131072, id="llama-3.1-8b"),
        pytest.param(LLAMA_32_1B, 8192, 8, 131072, id="llama-3.2-1b"),
        pytest.param(MISTRAL_7B, 14336, 8, 32768, id="mistral-7b"),
    ],
)
def test_published_models_have_their_published_numbers(
    params: dict[str, Any], width: int, kv_heads: int, context: int
) -> None:
    config = from_meta(params, vocab_size=32000)
    assert (config.intermediate_size, config.num_kv_heads) == (width, kv_heads)
    assert config.max_position == context
    assert config.head_dim == config.hidden_size // config.num_heads
    assert config.rope_interleaved


def test_llama_3_ends_at_its_own_tokens_and_others_at_two() -> None:
    assert from_meta(LLAMA_3_8B).eos_ids == (128001, 128008, 128009)
    assert from_meta(LLAMA_3_8B).bos_id == 128000
    two = from_meta(LLAMA_2_7B, vocab_size=32000)
    assert (two.bos_id, two.eos_ids, two.vocab_size) == (1, (2,), 32000)


def test_scaled_rope_takes_the_factor_that_meta_published() -> None:
    assert from_meta(LLAMA_3_8B).rope_scaling is None
    eight, thirty_two = from_meta(LLAMA_31_8B).rope_scaling, from_meta(LLAMA_32_1B).rope_scaling
    assert eight == RopeScaling(
        kind="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position=8192,
    )
    assert thirty_two is not None
    assert thirty_two.factor == 32.0


def test_what_the_file_says_wins_over_what_is_guessed() -> None:
    config = from_meta(LLAMA_2_7B | {"max_seq_len": 1024, "eos_ids": [5]}, vocab_size=32000)
    assert (config.max_position, config.eos_ids) == (1024, (5,))
    assert from_meta(LLAMA_2_7B | {"vocab_size": 77}, vocab_size=32000).vocab_size == 77


def test_mistral_slides_in_every_layer() -> None:
    config = from_meta(MISTRAL_7B)
    assert (config.architecture, config.windows) == ("mistral", (4096,) * 32)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        pytest.param(LLAMA_2_7B | {"dim": None}, "dim is missing", id="missing"),
        pytest.param(LLAMA_2_7B | {"n_heads": 3}, r"multiple of n_heads \(3\)", id="heads"),
        pytest.param(LLAMA_2_7B | {"n_layers": "x"}, 'n_layers is "x"', id="type"),
        pytest.param(LLAMA_2_7B | {"vocab_size": 0}, "vocab_size is 0", id="vocabulary"),
        pytest.param(LLAMA_2_7B, "tok_embeddings", id="no-vocabulary"),
        pytest.param(LLAMA_3_8B | {"n_kv_heads": 5}, "share 5 key/value", id="kv-heads"),
        pytest.param(LLAMA_3_8B | {"moe": {"num_experts": 8}}, "moe is", id="experts"),
        pytest.param(
            LLAMA_3_8B | {"quantization_args": {"scheme": "x"}}, "quantised", id="quantised"
        ),
    ],
)
def test_what_is_not_understood_is_refused_by_key_and_value(
    params: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        from_meta(params)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        *({"intermediate_size": width} for width in (8, 49, 98, 150, 169, 170, 171, 176, 256, 999)),
        {"hidden_size": 4096, "head_dim": 512, "intermediate_size": 11008},
        {"max_position": 512, "bos_id": 0, "eos_ids": (0, 3)},
        {"head_dim": 16},
        {"architecture": "mistral", "windows": (6, 6), "max_position": 512},
        {"rope_scaling": RopeScaling(kind="llama3", factor=32.0), "rope_theta": 500000.0},
    ],
)
def test_what_is_written_is_read_back_the_same(changes: dict[str, Any]) -> None:
    config = tiny_config(rope_interleaved=True, **changes)
    assert from_meta(to_meta(config), dtype=config.dtype) == config


def test_a_llama_2_file_has_only_keys_that_metas_code_knows() -> None:
    config = from_meta(LLAMA_2_7B, vocab_size=32000)
    assert set(to_meta(config)) == {*LLAMA_2_7B, "n_kv_heads", "rope_theta"}
    assert to_meta(config)["multiple_of"] == 256


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"qkv_bias": True}, "biases"),
        ({"architecture": "qwen3", "qk_norm": True}, "qwen3"),
        ({"qk_norm": True}, "norms of queries and keys"),
        ({"windows": (6, None)}, "differ between layers"),
        ({"rope_scaling": RopeScaling(kind="linear", factor=2.0)}, "linear"),
    ],
)
def test_what_metas_layout_cannot_say_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot express.*{said}"):
        to_meta(tiny_config(**changes))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("yarn", {"factor": 16}),
        ("llama_4_scaling", {"beta": 0.1}),
        ("use_qk_norm", True),
        ("tied_embeddings", True),
        ("use_biases", True),
        ("causal", False),
    ],
)
def test_a_key_of_newer_mistrals_that_is_not_computed_is_refused_by_name(
    key: str, value: object
) -> None:
    params = {"dim": 64, "n_layers": 1, "n_heads": 4, "vocab_size": 96}
    with pytest.raises(ConfigError, match=rf"params\.json: {key} is "):
        from_meta(params | {key: value})
    from_meta(params | {key: key == "causal"})  # what it says of a model that has none of it


def test_mistrals_own_name_of_the_context_is_read() -> None:
    params = {"dim": 64, "n_layers": 1, "n_heads": 4, "vocab_size": 96, "hidden_dim": 128}
    assert from_meta(params | {"max_position_embeddings": 131072}).max_position == 131072
