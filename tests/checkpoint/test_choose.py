"""Which engine a model gets is decided in one place, from what its folder describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berth.checkpoint.choose import Choice, engine_for
from berth.checkpoint.describe import Description, describe_hf
from berth.checkpoint.errors import ConfigError, NoEngine
from berth.checkpoint.folder import describe
from berth.checkpoint.hf import CLASSES

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
LLAMA = SIZES | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
PARAMS = {"dim": 64, "n_heads": 4, "n_layers": 2, "vocab_size": 100}


def meta(tmp_path: Path) -> Description:
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    return describe(tmp_path)


def is_absent(_: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("config", "engine"),
    [
        (LLAMA, "native"),
        (SIZES | {"architectures": ["FalconForCausalLM"]}, "native"),
        (SIZES | {"model_type": "qwen3"}, "native"),
        (LLAMA | {"architectures": "LlamaForCausalLM"}, "native"),
        (LLAMA | {"architectures": ["LLaMAForCausalLM"]}, "native"),
        (GPT2, "transformers"),
        ({"model_type": "gpt2"}, "transformers"),
        (LLAMA | {"architectures": ["LlamaForCausalLM", "GPT2LMHeadModel"]}, "transformers"),
        (LLAMA | {"quantization_config": {"quant_method": "fp8"}}, "transformers"),
    ],
)
def test_native_if_it_computes_the_model_and_transformers_if_not(config: Any, engine: str) -> None:
    assert engine_for(describe_hf(config)).engine == engine


def test_metas_layout_is_native(tmp_path: Path) -> None:
    assert engine_for(meta(tmp_path)) == Choice("native")


def test_every_class_of_the_native_engine_is_given_to_it() -> None:
    for name in CLASSES:
        assert engine_for(describe_hf(SIZES | {"architectures": [name]})).engine == "native", name


def test_the_owner_may_choose_otherwise() -> None:
    llama = describe_hf(LLAMA)
    assert engine_for(llama, "transformers") == Choice("transformers")
    assert engine_for(llama, "native") == Choice("native")
    assert engine_for(llama, quantise=True) == Choice("transformers")


@pytest.mark.parametrize(
    "change",
    [
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        {"hidden_act": "relu2"},
        {"partial_rotary_factor": 0.5},
        {"eos_token_id": "</s>"},
        {"torch_dtype": "float8_e4m3fn"},
    ],
)
def test_what_the_native_engine_does_not_compute_goes_to_transformers_with_the_reason(
    change: dict[str, Any],
) -> None:
    described = describe_hf(LLAMA | change)
    (key,) = change
    choice = engine_for(described)
    assert choice.engine == "transformers"
    assert choice.why is not None
    assert choice.why.startswith("the native engine does not run it: config.json: ")
    assert key in choice.why
    assert described.numbers is not None, "fit still knows its size"
    with pytest.raises(NoEngine, match=rf"{key}.*--engine transformers may run it"):
        engine_for(described, "native")


@pytest.mark.parametrize(
    ("config", "wanted", "quantise", "said"),
    [
        (GPT2, "native", False, "native engine does not know GPT2LMHeadModel; it knows FalconFor"),
        (GPT2, "native", False, "Use --engine transformers"),
        (LLAMA, "native", True, "native engine does not quantise while loading"),
        ({"architectures": ["x" * 10_000]}, "native", False, "does not know x"),
        (
            LLAMA | {"quantization_config": {"quant_method": "gptq"}},
            "auto",
            False,
            "is quantised with gptq, and what reads that is not installed: pip install .*gptqmodel",
        ),
        (SIZES | {"architectures": ["BertModel"]}, "auto", False, "writes no text"),
        (LLAMA | {"architectures": ["LlamaForSequenceClassification"]}, "auto", False, "classifi"),
        (
            SIZES | {"architectures": ["UnheardForCausalLM"], "model_type": "unheard-of"},
            "auto",
            False,
            r"type \(unheard-of\) that neither",
        ),
    ],
)
def test_what_an_engine_cannot_run_is_refused_and_both_are_named(
    config: Any, wanted: Any, quantise: bool, said: str
) -> None:
    with pytest.raises(NoEngine, match=said) as refusal:
        engine_for(describe_hf(config), wanted, quantise=quantise, installed=is_absent)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(("wanted", "quantise"), [("transformers", False), ("auto", True)])
def test_metas_layout_is_none_for_transformers(wanted: Any, quantise: bool, tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="this folder is in Meta's"):
        engine_for(meta(tmp_path), wanted, quantise=quantise)


def test_a_folder_that_brings_its_own_code_is_for_transformers() -> None:
    config = {"architectures": ["OwnForCausalLM"], "model_type": "own"}
    own = describe_hf(config | {"auto_map": {"AutoModelForCausalLM": "own.OwnForCausalLM"}})
    assert engine_for(own).engine == "transformers"


def test_packed_weights_are_run_if_their_package_is_installed() -> None:
    packed = describe_hf(LLAMA | {"quantization_config": {"quant_method": "awq"}})
    assert engine_for(packed, installed=lambda name: name == "gptqmodel").engine == "transformers"


@pytest.mark.parametrize("odd", [3, {"a": 1}, [None], [3], ["x", 3]])
def test_a_class_that_is_none_is_refused_by_its_key(odd: Any) -> None:
    with pytest.raises(ConfigError, match="architectures is "):
        describe_hf({"architectures": odd})
    with pytest.raises(ConfigError, match="model_type is "):
        describe_hf({"model_type": odd})


def test_metas_weights_are_native_whatever_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GPT2))
    (tmp_path / "consolidated.00.pth").write_bytes(b"")
    described = meta(tmp_path)
    assert engine_for(described).engine == "native"
    with pytest.raises(NoEngine, match="Meta's"):
        engine_for(described, "transformers")


def test_a_folder_with_both_is_hugging_faces(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GPT2))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert engine_for(meta(tmp_path)).engine == "transformers"
