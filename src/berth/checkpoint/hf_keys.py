"""The keys of Hugging Face's config.json that mean the same for every architecture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from berth.checkpoint.config import RopeScaling
from berth.checkpoint.fields import DTYPES, Fields


def end_tokens(
    fields: Fields, generation: Mapping[str, Any] | None, default: tuple[int, ...]
) -> tuple[int, ...]:
    """Token ids that end a text; what generation_config.json says wins."""
    ids = fields.tokens("eos_token_id", default)
    if generation is not None:
        ids = Fields(generation, "generation_config.json").tokens("eos_token_id", ids)
    return ids


def rope_keys(fields: Fields) -> dict[str, Any]:
    """The fields of ModelConfig that say how positions are rotated, from the old keys or the new.

    Raises:
        ConfigError: a key is malformed, or asks for a scheme that is not computed.
    """
    # transformers 5 writes rope_parameters with the base in it, 4 rope_theta beside rope_scaling.
    rope = fields.nested("rope_scaling") or fields.nested("rope_parameters")
    theta = fields.number("rope_theta", 10000.0)
    if rope is None:
        return {"rope_theta": theta, "rope_scaling": None}
    if any(isinstance(value, Mapping) for value in rope.values.values()):
        raise fields.refuse(
            rope.prefix.rstrip("."), "all layers must have the same kind of rotary embedding"
        )
    return {
        "rope_theta": rope.number("rope_theta", theta),
        "rope_scaling": rope_scaling(fields, rope),
    }


def partial_rotary(fields: Fields) -> float:
    """Which part of each head is rotated: above 0, at most 1."""
    rope = fields.nested("rope_scaling") or fields.nested("rope_parameters")
    part = fields.number("partial_rotary_factor", 1.0)
    if rope is not None:
        part = rope.number("partial_rotary_factor", part)
    if part > 1.0:
        raise fields.refuse("partial_rotary_factor", "it must be at most 1")
    return part


def refuse_partial_rotary(fields: Fields) -> None:
    """Raises ConfigError if a part of each head stays unrotated."""
    rope = fields.nested("rope_scaling") or fields.nested("rope_parameters")
    for each in (fields, rope):
        if each is not None and each.number("partial_rotary_factor", 1.0) != 1.0:
            raise each.refuse("partial_rotary_factor", "only whole heads are rotated; it must be 1")


def rope_scaling(fields: Fields, rope: Fields) -> RopeScaling | None:
    """How `rope`, an object of `fields`, stretches the frequencies."""
    key = "rope_type" if rope.has("rope_type") else "type"
    match rope.values.get(key) or "default":
        case "default":
            return None
        case "linear":
            return RopeScaling(kind="linear", factor=rope.number("factor"))
        case "llama3":
            return _llama3(fields, rope)
        case "yarn":
            return _yarn(fields, rope)
        case "longrope" | "su":
            return _longrope(fields, rope)
        case _:
            raise rope.refuse(key, "known are default, linear, llama3, yarn and longrope")


def original_length(fields: Fields, rope: Fields) -> int | None:
    """Tokens of context before the stretching, if either object says."""
    key = "original_max_position_embeddings"
    return rope.maybe(key) or fields.maybe(key)


def _llama3(fields: Fields, rope: Fields) -> RopeScaling:
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if low >= high:
        raise rope.refuse("low_freq_factor", f"it must be below high_freq_factor, which is {high}")
    return RopeScaling(
        kind="llama3",
        factor=rope.number("factor"),
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_position=_original(fields, rope),
    )


def _original(fields: Fields, rope: Fields) -> int:
    return original_length(fields, rope) or fields.whole("max_position_embeddings")


def _yarn(fields: Fields, rope: Fields) -> RopeScaling:
    original = _original(fields, rope)
    if rope.has("factor"):
        factor = rope.number("factor")
    else:
        factor = fields.whole("max_position_embeddings") / original
    if rope.has("attention_factor"):
        attention = rope.number("attention_factor")
    elif rope.has("mscale") and rope.has("mscale_all_dim"):
        attention = _mscale(factor, rope.number("mscale")) / _mscale(
            factor, rope.number("mscale_all_dim")
        )
    else:
        attention = _mscale(factor, 1.0)
    return RopeScaling(
        kind="yarn",
        factor=factor,
        original_max_position=original,
        attention_factor=attention,
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        truncate=rope.flag("truncate", True),
    )


def _mscale(factor: float, scale: float) -> float:
    """Peng et al. 2023, equation 22, as transformers generalises it."""
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def _longrope(fields: Fields, rope: Fields) -> RopeScaling:
    original = _original(fields, rope)
    if rope.has("factor"):
        factor = rope.number("factor")
    else:
        factor = fields.whole("max_position_embeddings", default=original) / original
    if rope.has("attention_factor"):
        attention = rope.number("attention_factor")
    elif factor <= 1 or original <= 1:
        attention = 1.0
    else:
        attention = math.sqrt(1 + math.log(factor) / math.log(original))
    return RopeScaling(
        kind="longrope",
        factor=factor,
        original_max_position=original,
        attention_factor=attention,
        short_factors=rope.numbers("short_factor"),
        long_factors=rope.numbers("long_factor"),
    )


def dtype_of(fields: Fields) -> str | None:
    """The number format that the file names; None if it leaves that to the weights."""
    key = "dtype" if fields.has("dtype") else "torch_dtype"
    name = fields.values.get(key)
    if name is None or name == "auto":
        return None
    if not isinstance(name, str):
        raise fields.refuse(key, f"it must be one of {', '.join(DTYPES)}")
    return name.removeprefix("torch.")


def number_format(fields: Fields) -> str:
    """What the weights are stored in: one of DTYPES; float32 if no key says which."""
    name = dtype_of(fields) or "float32"
    if name not in DTYPES:
        key = "dtype" if fields.has("dtype") else "torch_dtype"
        raise fields.refuse(key, f"it must be one of {', '.join(DTYPES)}")
    return name
