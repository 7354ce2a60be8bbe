"""What a config.json says the model is for, if that is not to write text. Pure.

transformers' AutoModelForCausalLM goes by model_type alone: it would load an encoder as a decoder
with random numbers in the head, or end in a page of class names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.text_types import TEXT_TYPES

# model_types that see or hear, and that AutoModelForCausalLM of transformers 5.23 loads all the
# same, for text. A test holds this to its table.
_ALSO_TEXT = frozenset(
    {
        "dots3_note", "emu3", "fuyu", "gemma3", "gemma3n", "gemma4", "gemma4_unified", "git",
        "got_ocr2", "llama4", "mllama", "phi4_multimodal", "qwen3_5", "qwen3_5_moe", "qwen4_exp",
    }
)  # fmt: skip
# Families whose plain class is an encoder, and which transformers could load as a decoder.
_ENCODERS = frozenset(
    {
        "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta",
        "deberta-v2", "distilbert", "electra", "ernie", "esm", "eurobert", "flaubert", "funnel",
        "ibert", "layoutlm", "longformer", "luke", "megatron-bert", "mobilebert", "modernbert",
        "mpnet", "mra", "new", "nomic_bert", "nystromformer", "rembert", "roberta",
        "roberta-prelayernorm", "roc_bert", "roformer", "splinter", "squeezebert", "xlm-roberta",
        "xlm-roberta-xl", "xmod", "yoso",
    }
)  # fmt: skip
_CLASSIFIERS = (
    "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
    "ForMultipleChoice", "ForNextSentencePrediction", "ForRewardModel", "RewardModel",
    "ForProcessRewardModel", "ForImageClassification", "ForAudioClassification",
)  # fmt: skip
_TWO_PARTS = frozenset(
    {
        "bart", "blenderbot", "blenderbot-small", "encoder-decoder", "fsmt", "led", "longt5",
        "m2m_100", "marian", "mbart", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart",
        "prophetnet", "switch_transformers", "t5", "t5gemma", "umt5",
    }
)  # fmt: skip
_WRITES = ("ForCausalLM", "LMHeadModel", "GenerationDecoder", "WithLMHead", "WithLMHeadModel")
_OTHER = ("ForConditionalGeneration", "ForMaskedLM", "ForPreTraining")
_SEES = ("vision_config", "visual", "vision_tower", "mm_vision_tower", "img_processor")
_HEARS = ("audio_config", "audio_encoder_config", "encoder_audio_config")


def complaint(config: Mapping[str, Any], sentence_model: bool = False) -> str | None:
    """Why no engine serves the model, as a sentence that begins behind the folder's name; None if
    nothing here says so.

    Args:
        config: the content of config.json.
        sentence_model: whether the folder is one of sentence-transformers.
    """
    classes = _classes(config)
    named = f" ({classes[0][:100]})" if classes else ""
    kind = config.get("model_type") or _kind_of(classes)
    if sentence_model:
        return (
            f"is an embedding model of sentence-transformers{named}, which writes no text; serve a "
            "model that does, such as one whose architecture ends in ForCausalLM"
        )
    if _brings_code(config):
        return None
    if any(name.endswith(_CLASSIFIERS) for name in classes):
        return (
            f"is a classifier or a reward model{named}, which writes no text; serve the model that "
            "it was trained from"
        )
    if kind in _ENCODERS and not _is_decoder(config, classes):
        return (
            f"is an encoder{named}, which makes embeddings and writes no text; serve a model that "
            "does, such as one whose architecture ends in ForCausalLM"
        )
    if kind not in _ALSO_TEXT and any(config.get(key) for key in _SEES):
        return f"sees images{named}, and no engine of Berth loads it{_TEXT_ALONE}"
    if kind not in _ALSO_TEXT and any(config.get(key) for key in _HEARS):
        return f"hears{named}, and no engine of Berth loads it{_TEXT_ALONE}"
    writes = any(name.endswith(_WRITES) for name in classes)
    if config.get("is_encoder_decoder") is True or (kind in _TWO_PARTS and not writes):
        return (
            f"is an encoder with a decoder{named}, and Berth serves decoders alone; serve a model "
            "whose architecture ends in ForCausalLM"
        )
    # A base class of a known kind (LlamaModel) may be all that a model of text was saved from.
    base = kind in TEXT_TYPES and not classes[0].endswith(_OTHER) if classes else True
    if isinstance(kind, str) and not writes and not base and kind not in _ALSO_TEXT:
        return (
            f"is of another kind than the models of text that Berth serves{named}; serve a model "
            "whose architecture ends in ForCausalLM"
        )
    return None


_TEXT_ALONE = "; serve the text model that it was made from"


def _classes(config: Mapping[str, Any]) -> list[str]:
    names = config.get("architectures")
    if isinstance(names, str):  # transformers takes one as it takes a list of one
        return [names]
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _kind_of(classes: list[str]) -> str | None:
    """The model_type of a class that is one of the exceptions, if the file names none."""
    begins = [name.removesuffix("ForConditionalGeneration").lower() for name in classes]
    found = (
        kind for kind in _ALSO_TEXT if kind.replace("_", "") in [b.replace("_", "") for b in begins]
    )
    return next(found, None)


def _brings_code(config: Mapping[str, Any]) -> bool:
    """Whether the folder's own Python says how to load it for text; the engine asks for trust."""
    auto = config.get("auto_map")
    return isinstance(auto, dict) and "AutoModelForCausalLM" in auto


def _is_decoder(config: Mapping[str, Any], classes: list[str]) -> bool:
    return config.get("is_decoder") is True or any(name.endswith(_WRITES) for name in classes)
