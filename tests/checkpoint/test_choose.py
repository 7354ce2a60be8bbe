"""Which engine a model gets is decided from its config.json alone."""

from __future__ import annotations

from typing import Any

import pytest

from berth.checkpoint.choose import NATIVE, UnknownArchitecture, choose_engine, is_native
from berth.checkpoint.hf import CLASSES

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}


def test_the_list_is_what_the_native_engine_reads() -> None:
    assert dict(NATIVE) == CLASSES


@pytest.mark.parametrize(
    ("config", "engine"),
    [
        (LLAMA, "native"),
        ({"architectures": ["FalconForCausalLM"]}, "native"),
        ({"model_type": "qwen3"}, "native"),
        (GPT2, "transformers"),
        ({"model_type": "gpt2"}, "transformers"),
        ({}, "transformers"),
        ({"architectures": ["LlamaForCausalLM", "GPT2LMHeadModel"]}, "transformers"),
        ({"architectures": "LlamaForCausalLM"}, "transformers"),
        (LLAMA | {"quantization_config": {"quant_method": "awq"}}, "transformers"),
        (None, "native"),  # Meta's layout
    ],
)
def test_native_where_the_architecture_is_known_and_transformers_elsewhere(
    config: Any, engine: str
) -> None:
    assert choose_engine(config) == engine


def test_the_owner_may_choose_otherwise() -> None:
    assert choose_engine(LLAMA, "transformers") == "transformers"
    assert choose_engine(LLAMA, "native") == "native"
    assert choose_engine(LLAMA, quantise=True) == "transformers"


@pytest.mark.parametrize(
    ("config", "wanted", "quantise", "said"),
    [
        (GPT2, "native", False, "native engine does not know GPT2LMHeadModel; it knows FalconFor"),
        (GPT2, "native", False, "Use --engine transformers"),
        (LLAMA, "native", True, "native engine does not quantise while loading"),
        (None, "transformers", False, "this folder is in Meta's"),
        (None, "auto", True, "this folder is in Meta's"),
        ({"architectures": ["x" * 10_000]}, "native", False, "does not know x"),
    ],
)
def test_what_an_engine_cannot_run_is_refused_and_both_are_named(
    config: Any, wanted: Any, quantise: bool, said: str
) -> None:
    with pytest.raises(UnknownArchitecture, match=said) as refusal:
        choose_engine(config, wanted, quantise=quantise)
    assert len(str(refusal.value)) < 500


def test_nothing_in_a_file_makes_the_choice_fail() -> None:
    for odd in (None, 3, "x", [], [3], {"a": 1}, [None]):
        assert not is_native({"architectures": odd, "model_type": odd if odd != [3] else 3})
