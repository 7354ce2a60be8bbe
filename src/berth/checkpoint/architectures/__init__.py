"""Hugging Face's config.json, of every architecture that we know, to ModelNumbers.

Defaults of absent keys are those of transformers' configuration classes, since published files
leave them out (Gemma 3's most of all). The count of tensors that follows is held against
transformers' own modules in tests/presets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.architectures import decoders, mixed
from berth.checkpoint.keys import Keys
from berth.checkpoint.layers import ModelNumbers, NumbersError, UnknownArchitecture
from berth.checkpoint.shapes import Parser
from berth.checkpoint.towers import SEEING, with_tower


def parse(config: Mapping[str, Any]) -> ModelNumbers:
    """See `berth.checkpoint.numbers.from_config_json`."""
    return _parse(Keys(config))


def _parse(keys: Keys) -> ModelNumbers:
    name = _class_name(keys)
    if name in SEEING:
        return with_tower(name, keys, _parse)
    if (parser := _PARSERS.get(name)) is None:
        raise UnknownArchitecture(name)
    return parser(name, keys)


def _class_name(keys: Keys) -> str:
    if names := keys.names("architectures"):
        return names[0]
    if (kind := keys.text("model_type")) is None:
        raise NumbersError("architectures is missing; it should be a list with one class name")
    return _BY_TYPE.get(kind, kind)


_PARSERS: dict[str, Parser] = {
    "LlamaForCausalLM": decoders.llama,
    "LLaMAForCausalLM": decoders.llama,  # as the first conversions of Llama 1 spelt it
    "GraniteForCausalLM": decoders.llama,
    "SmolLM3ForCausalLM": decoders.smollm3,
    "MistralForCausalLM": decoders.mistral,
    "Ministral3ForCausalLM": decoders.ministral3,
    "MixtralForCausalLM": decoders.mixtral,
    "Qwen2ForCausalLM": decoders.qwen2,
    "Qwen3ForCausalLM": decoders.qwen3,
    "Qwen3MoeForCausalLM": decoders.qwen3_moe,
    "Phi3ForCausalLM": decoders.phi3,
    "GemmaForCausalLM": decoders.gemma,
    "Gemma2ForCausalLM": decoders.gemma2,
    "Gemma3ForCausalLM": mixed.gemma3,
    "Gemma4ForCausalLM": mixed.gemma4,
    "FalconForCausalLM": decoders.falcon,
    "RWForCausalLM": decoders.falcon,  # Falcon's first files
    "GptOssForCausalLM": decoders.gpt_oss,
    "DeepseekV3ForCausalLM": decoders.deepseek_v3,
    "MistralLarge3ForCausalLM": decoders.deepseek_v3,
    "DeepseekV32ForCausalLM": mixed.sparse_latent,
    "GlmMoeDsaForCausalLM": mixed.sparse_latent,
    "Mistral4ForCausalLM": mixed.mistral4,
    "MiniMaxM2ForCausalLM": decoders.minimax_m2,
    "Qwen3NextForCausalLM": mixed.qwen3_5,
    "Qwen3_5ForCausalLM": mixed.qwen3_5,
    "Qwen3_5MoeForCausalLM": mixed.qwen3_5,
    "NemotronHForCausalLM": mixed.nemotron_h,
    "BertModel": decoders.bert,
    "XLMRobertaModel": decoders.bert,
}
# Where a file (or the text part of a larger one) names no class.
_BY_TYPE = {
    "llama": "LlamaForCausalLM",
    "granite": "GraniteForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gemma4_text": "Gemma4ForCausalLM",
    "gemma4_unified_text": "Gemma4ForCausalLM",
    "falcon": "FalconForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "kimi_k2": "DeepseekV3ForCausalLM",
    "mistral4": "Mistral4ForCausalLM",
    "minimax_m2": "MiniMaxM2ForCausalLM",
    "qwen3_next": "Qwen3NextForCausalLM",
    "qwen3_5_text": "Qwen3_5ForCausalLM",
    "qwen3_5_moe_text": "Qwen3_5MoeForCausalLM",
    "nemotron_h": "NemotronHForCausalLM",
    "bert": "BertModel",
    "xlm-roberta": "XLMRobertaModel",
}
