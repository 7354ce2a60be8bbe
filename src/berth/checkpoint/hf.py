"""Hugging Face's config.json, as transformers 4 and 5 write it, to and from a ModelConfig.

Defaults of absent keys are those of transformers' own configuration classes. Pure: dictionaries
in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.choose import NATIVE
from berth.checkpoint.config import ConfigError, ModelConfig
from berth.checkpoint.falcon import falcon_config
from berth.checkpoint.fields import Fields, validated
from berth.checkpoint.hf_keys import (
    end_tokens,
    number_format,
    reach,
    refuse_quantised,
    rope_keys,
)

# The server decides by the same table which engine a folder gets.
CLASSES = dict(NATIVE)
# What transformers assumes where config.json says nothing; None: as many as attention heads.
_KV_HEADS = {"llama": None, "mistral": 8, "qwen2": 32, "qwen3": 32}
_MAX_POSITION = {"llama": 2048, "mistral": 131072, "qwen2": 32768, "qwen3": 32768}


def from_hf(
    config: Mapping[str, Any],
    generation: Mapping[str, Any] | None = None,
    *,
    file: str = "config.json",
) -> ModelConfig:
    """The model that a config.json describes.

    Args:
        config: the content of config.json.
        generation: the content of generation_config.json; its eos_token_id wins.
        file: what error messages call the first.

    Raises:
        ConfigError: a key is missing or malformed, or asks for what this engine does not compute;
            names the key and its value.
    """
    fields = Fields(config, file)
    architecture = _architecture(fields)
    refuse_quantised(fields)
    if architecture == "falcon":
        return validated(falcon_config(fields, generation), file)
    _refuse_other_activations(fields)
    heads = fields.whole("num_attention_heads")
    hidden = fields.whole("hidden_size")
    layers = fields.whole("num_hidden_layers")
    theta, scaling = rope_keys(fields)
    biased = architecture in ("llama", "qwen3") and fields.flag("attention_bias", False)
    one_two = architecture in ("llama", "mistral")
    return validated(
        ModelConfig(
            architecture=architecture,
            vocab_size=fields.whole("vocab_size"),
            hidden_size=hidden,
            intermediate_size=fields.whole("intermediate_size"),
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=fields.whole("num_key_value_heads", _KV_HEADS[architecture] or heads),
            head_dim=_head_dim(fields, architecture, hidden, heads),
            max_position=reach(
                fields.whole("max_position_embeddings", _MAX_POSITION[architecture]), scaling
            ),
            norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope_theta=theta,
            rope_scaling=scaling,
            windows=_windows(fields, architecture, layers),
            qkv_bias=biased or architecture == "qwen2",
            out_bias=biased,
            mlp_bias=architecture == "llama" and fields.flag("mlp_bias", False),
            qk_norm=architecture == "qwen3",
            tie_embeddings=fields.flag("tie_word_embeddings", False),
            bos_id=fields.token("bos_token_id", 1 if one_two else None),
            eos_ids=end_tokens(fields, generation, (2,) if one_two else ()),
            dtype=number_format(fields),
        ),
        file,
    )


def _architecture(fields: Fields) -> str:
    known = ", ".join(sorted(set(CLASSES) - {"LLaMAForCausalLM"}))
    names = fields.values.get("architectures")
    if names:
        if isinstance(names, list) and len(names) == 1 and names[0] in CLASSES:
            return CLASSES[names[0]]
        raise fields.refuse("architectures", f"known are {known}")
    if (kind := fields.values.get("model_type")) in CLASSES.values():
        return str(kind)
    if kind is not None:
        raise fields.refuse("model_type", f"known are {', '.join(dict.fromkeys(CLASSES.values()))}")
    raise ConfigError(f"{fields.file}: architectures is missing; known are {known}")


def _refuse_other_activations(fields: Fields) -> None:
    activation = fields.values.get("hidden_act")
    if activation not in (None, "silu", "swish"):
        raise fields.refuse("hidden_act", "only silu is computed")


def _head_dim(fields: Fields, architecture: str, hidden: int, heads: int) -> int:
    if architecture == "qwen3":
        return fields.whole("head_dim", 128)
    if not fields.has("head_dim") and hidden % heads:
        raise fields.refuse(
            "hidden_size",
            f"it must be a multiple of num_attention_heads ({heads}) where head_dim is not given",
        )
    return fields.whole("head_dim", max(hidden // heads, 1))


def _windows(fields: Fields, architecture: str, layers: int) -> tuple[int | None, ...]:
    """How far back each layer looks; empty where all of them see everything."""
    if architecture == "mistral":
        if fields.is_null("sliding_window"):
            return ()
        window = fields.whole("sliding_window", 4096)
        if not fields.has("layer_types"):
            return (window,) * layers
        # Ministral's form, which transformers takes from a mistral file too.
        windows = tuple(
            window if kind == "sliding_attention" else None for kind in _layer_kinds(fields, layers)
        )
        return windows if any(windows) else ()
    if architecture == "llama":
        return ()
    kinds = _layer_kinds(fields, layers)
    if "sliding_attention" not in kinds:
        return ()
    if not fields.flag("use_sliding_window", False) or fields.is_null("sliding_window"):
        raise fields.refuse(
            "layer_types", "sliding layers need use_sliding_window true and a sliding_window"
        )
    window = fields.whole("sliding_window", 4096)
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _layer_kinds(fields: Fields, layers: int) -> list[str]:
    kinds = fields.values.get("layer_types")
    if kinds is None:
        slides = fields.flag("use_sliding_window", False) and not fields.is_null("sliding_window")
        # Zero is a sensible value here (every layer slides), so this is not fields.whole.
        first = fields.values.get("max_window_layers")
        first = 28 if first is None else first
        if isinstance(first, bool) or not isinstance(first, int) or first < 0:
            raise fields.refuse("max_window_layers", "it must be a whole number")
        return [
            "sliding_attention" if slides and layer >= first else "full_attention"
            for layer in range(layers)
        ]
    if not isinstance(kinds, list) or not set(kinds) <= {"full_attention", "sliding_attention"}:
        raise fields.refuse("layer_types", "known are full_attention and sliding_attention")
    if len(kinds) != layers:
        raise fields.refuse("layer_types", f"it must name each of the {layers} layers")
    return kinds


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
