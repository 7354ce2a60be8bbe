"""What is no model of text is told by its config.json; every model of text passes."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers.models.auto import modeling_auto as tables
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from berth.checkpoint.purpose import complaint
from berth.checkpoint.text_types import TEXT_TYPES

# Decoders cut out of models of two parts; their configuration's default is the whole model.
OF_TWO_PARTS = {
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp",
    "pegasus", "plbart", "prophetnet", "whisper",
}  # fmt: skip
OF_SOUND = {"moshi", "moss_transcribe_diarize", "musicgen", "musicgen_melody"}


def first(names: str | tuple[str, ...]) -> str:
    return names if isinstance(names, str) else names[0]


def default(kind: str, name: str) -> dict[str, Any]:
    """config.json of a model_type, with all keys as transformers fills them in."""
    try:
        described: dict[str, Any] = CONFIG_MAPPING[kind]().to_dict()
    except StrictDataclassClassValidationError:  # gemma4_unified's defaults contradict each other
        described = {"vision_config": {}}
    return described | {"model_type": kind, "architectures": [name]}


def test_the_table_is_transformers() -> None:
    assert set(tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) <= TEXT_TYPES


def test_every_model_that_transformers_loads_for_text_passes() -> None:
    refused = {
        kind: said
        for kind, names in tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
        if (said := complaint(default(kind, first(names)))) is not None
    }
    assert set(refused) == OF_TWO_PARTS | OF_SOUND
    for kind in OF_TWO_PARTS:
        assert "is an encoder with a decoder" in refused[kind]
        decoder = default(kind, first(tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]))
        assert complaint(decoder | {"is_encoder_decoder": False}) is None, kind


def test_every_other_model_that_sees_is_refused() -> None:
    for kind, names in tables.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.items():
        if kind not in TEXT_TYPES and not first(names).endswith("ForCausalLM"):
            config = default(kind, first(names))
            assert complaint(config) is not None, kind
            if config.get("vision_config") and not config.get("is_encoder_decoder"):
                assert f"sees images ({first(names)})" in str(complaint(config)), kind


def test_every_encoder_is_refused() -> None:
    for kind, names in tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES.items():
        name = first(names)
        if not name.endswith("WithLMHeadModel"):  # xlm, flaubert: made for both
            assert complaint({"model_type": kind, "architectures": [name]}) is not None, name


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "bert", "architectures": ["BertModel"]}, "is an encoder (BertModel)"),
        ({"model_type": "bert"}, "is an encoder, which makes embeddings"),
        ({"model_type": "bert", "architectures": "BertModel"}, "is an encoder (BertModel)"),
        ({"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"]}, "is an encoder"),
        (
            {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]},
            "is a classifier or a reward model (LlamaForSequenceClassification)",
        ),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "with a decoder"),
        ({"model_type": "vit", "architectures": ["ViTModel"]}, "is of another kind"),
        ({"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}, "Whisp"),
        (
            {"model_type": "llava_llama", "architectures": ["LlavaLlamaForCausalLM"],
             "mm_vision_tower": "openai/clip"},
            "sees images",
        ),
    ],
)  # fmt: skip
def test_the_sentence_names_the_class(config: dict[str, Any], said: str) -> None:
    assert said in str(complaint(config))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "llama"},
        {"model_type": "llama", "architectures": ["LlamaModel"]},
        {"model_type": "falcon", "architectures": ["FalconModel"]},
        {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
        {"model_type": "bert", "architectures": ["BertLMHeadModel"]},
        {"model_type": "bert", "architectures": ["BertModel"], "is_decoder": True},
        {"model_type": "of_tomorrow", "architectures": ["OfTomorrowForCausalLM"]},
        {"architectures": "LlamaForCausalLM"},
        {
            "model_type": "phi3_v",
            "architectures": ["Phi3VForCausalLM"],
            "img_processor": {},
            "auto_map": {"AutoModelForCausalLM": "m.Phi3V"},
        },
    ],
)
def test_models_of_text_pass(config: dict[str, Any]) -> None:
    assert complaint(config) is None


def test_a_folder_of_sentence_transformers_is_one_whatever_its_class() -> None:
    qwen = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    said = complaint(qwen, sentence_model=True)
    assert str(said).startswith("is an embedding model of sentence-transformers (Qwen3ForCausalLM)")
