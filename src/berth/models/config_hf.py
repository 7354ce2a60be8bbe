"""Hugging Face's config.json, as transformers 4 and 5 write it, to and from a ModelConfig.

Defaults of absent keys are those of transformers' own configuration classes. Pure: dictionaries
in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.models.config import ConfigError, ModelConfig, RopeScaling
from berth.models.config_fields import DTYPES, Fields, validated

CLASSES = {
    "LlamaForCausalLM": "llama",
    "LLaMAForCausalLM": "llama",  # as the first conversions of Llama 1 spelt it
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
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
    _refuse_what_is_not_computed(fields)
    heads = fields.whole("num_attention_heads")
    hidden = fields.whole("hidden_size")
    layers = fields.whole("num_hidden_layers")
    theta, scaling = _rope(fields)
    biased = architecture in ("llama", "qwen3") and fields.flag("attention_bias", False)
    one_two = architecture in ("llama", "mistral")
    eos = fields.tokens("eos_token_id", (2,) if one_two else ())
    if generation is not None:
        eos = Fields(generation, "generation_config.json").tokens("eos_token_id", eos)
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
            max_position=_max_position(fields, architecture, scaling),
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
            eos_ids=eos,
            dtype=_dtype(fields),
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


def _refuse_what_is_not_computed(fields: Fields) -> None:
    activation = fields.values.get("hidden_act")
    if activation not in (None, "silu", "swish"):
        raise fields.refuse("hidden_act", "only silu is computed")
    if fields.has("quantization_config"):
        raise fields.refuse(
            "quantization_config",
            "quantised weights are not read; use a folder in float32, float16 or bfloat16",
        )


def _head_dim(fields: Fields, architecture: str, hidden: int, heads: int) -> int:
    if architecture == "qwen3":
        return fields.whole("head_dim", 128)
    if not fields.has("head_dim") and hidden % heads:
        raise fields.refuse(
            "hidden_size",
            f"it must be a multiple of num_attention_heads ({heads}) where head_dim is not given",
        )
    return fields.whole("head_dim", max(hidden // heads, 1))


def _rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    """Base of the rotary frequencies and their scaling, from the old keys or the new one."""
    # transformers 5 writes rope_parameters with the base in it, 4 rope_theta beside rope_scaling.
    rope = fields.nested("rope_scaling") or fields.nested("rope_parameters")
    theta = fields.number("rope_theta", 10000.0)
    partial = fields.number("partial_rotary_factor", 1.0)
    if partial != 1.0:
        raise fields.refuse("partial_rotary_factor", "only whole heads are rotated; it must be 1")
    if rope is None:
        return theta, None
    if any(isinstance(value, Mapping) for value in rope.values.values()):
        raise fields.refuse(
            rope.prefix.rstrip("."), "one kind of rotary embedding must do for all layers"
        )
    if rope.number("partial_rotary_factor", 1.0) != 1.0:
        raise rope.refuse("partial_rotary_factor", "only whole heads are rotated; it must be 1")
    return rope.number("rope_theta", theta), _scaling(fields, rope)


def _scaling(fields: Fields, rope: Fields) -> RopeScaling | None:
    key = "rope_type" if rope.has("rope_type") else "type"
    match rope.values.get(key) or "default":
        case "default":
            return None
        case "linear":
            return RopeScaling(kind="linear", factor=rope.number("factor"))
        case "llama3":
            low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
            if low >= high:
                raise rope.refuse(
                    "low_freq_factor", f"it must be below high_freq_factor, which is {high}"
                )
            trained = rope.whole(
                "original_max_position_embeddings", fields.whole("max_position_embeddings")
            )
            return RopeScaling(
                kind="llama3",
                factor=rope.number("factor"),
                low_freq_factor=low,
                high_freq_factor=high,
                original_max_position=trained,
            )
        case _:
            raise rope.refuse(key, "known are default, linear and llama3")


def _max_position(fields: Fields, architecture: str, scaling: RopeScaling | None) -> int:
    trained = fields.whole("max_position_embeddings", _MAX_POSITION[architecture])
    # Under linear scaling the key keeps the length before it (transformers' convention, and
    # Vicuna-16k's file); llama3's files give the length after it.
    if scaling is not None and scaling.kind == "linear":
        return int(trained * scaling.factor)
    return trained


def _windows(fields: Fields, architecture: str, layers: int) -> tuple[int | None, ...]:
    """How far back each layer looks; empty where all of them see everything."""
    if architecture == "mistral":
        if fields.is_null("sliding_window"):
            return ()
        return (fields.whole("sliding_window", 4096),) * layers
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


def _dtype(fields: Fields) -> str:
    key = "dtype" if fields.has("dtype") else "torch_dtype"
    name = fields.values.get(key) or "float32"
    if not isinstance(name, str) or name.removeprefix("torch.") not in DTYPES:
        raise fields.refuse(key, f"it must be one of {', '.join(DTYPES)}")
    return name.removeprefix("torch.")


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
