"""Hugging Face's config.json, as transformers 4 and 5 write it, to and from a ModelConfig.

Pure: dictionaries in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.architectures import Architecture, by_class, by_native_name, by_type
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields

# Every spelling of a class that the native engine computes, with the engine's name for it.
CLASSES = {name: each.native.name for name, each in by_class().items() if each.native is not None}


def from_hf(
    config: Mapping[str, Any],
    generation: Mapping[str, Any] | None = None,
    *,
    file: str = "config.json",
) -> ModelConfig:
    """What the native engine computes of a config.json.

    Args:
        config: the content of config.json.
        generation: the content of generation_config.json; its eos_token_id wins.
        file: what error messages call the first.

    Raises:
        ConfigError: a key is missing or malformed, or asks for what this engine does not compute;
            names the key and its value.
    """
    fields = Fields(config, file)
    known = _architecture(fields)
    assert known.native is not None
    return known.native.config(known.sizes(known.name, fields), fields, generation)


def _architecture(fields: Fields) -> Architecture:
    classes = ", ".join(sorted({a.name for a in by_native_name().values()}))
    if names := fields.names("architectures"):
        if len(names) == 1 and names[0] in CLASSES:
            return by_class()[names[0]]
        raise fields.refuse("architectures", f"known are {classes}")
    kind = fields.values.get("model_type")
    if kind is None:
        raise ConfigError(f"{fields.file}: architectures is missing; known are {classes}")
    known = by_type().get(kind) if isinstance(kind, str) else None
    if known is None or known.native is None:
        raise fields.refuse("model_type", f"known are {', '.join(by_native_name())}")
    return known


def to_hf(config: ModelConfig) -> dict[str, Any]:
    """A config.json, readable by transformers 4 and 5, for a llama or mistral model.

    The inverse of `from_hf`, but for `rope_interleaved`: the weights beside it must be in Hugging
    Face's layout.

    Raises:
        ConfigError: the architecture is another one.
    """
    if config.architecture not in ("llama", "mistral"):
        raise ConfigError(f"architecture is {config.architecture}: known are llama and mistral")
    name = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}[config.architecture]
    values: dict[str, Any] = {
        "architectures": [name],
        "model_type": config.architecture,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_position,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": config.bos_id,
        "eos_token_id": _one_or_list(config.eos_ids),
        "torch_dtype": config.dtype,
        "use_cache": True,
    }
    if config.architecture == "mistral":
        values["sliding_window"] = config.window(0)
    if (scaling := config.rope_scaling) is not None:
        values["rope_scaling"] = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "linear":
            values["max_position_embeddings"] = int(config.max_position / scaling.factor)
        else:
            values["rope_scaling"] |= {
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_position,
            }
    return values


def _one_or_list(ids: tuple[int, ...]) -> int | list[int] | None:
    return ids[0] if len(ids) == 1 else list(ids) or None
