"""The keys of Hugging Face's config.json that mean the same for every architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.config import RopeScaling
from berth.checkpoint.fields import DTYPES, Fields


def refuse_quantised(fields: Fields) -> None:
    """Raises ConfigError where the weights are not plain floating-point numbers."""
    if fields.has("quantization_config"):
        raise fields.refuse(
            "quantization_config",
            "quantised weights are not read; use a folder in float32, float16 or bfloat16",
        )


def end_tokens(
    fields: Fields, generation: Mapping[str, Any] | None, default: tuple[int, ...]
) -> tuple[int, ...]:
    """Token ids that end a text; what generation_config.json says wins."""
    ids = fields.tokens("eos_token_id", default)
    if generation is not None:
        ids = Fields(generation, "generation_config.json").tokens("eos_token_id", ids)
    return ids


def rope_keys(fields: Fields) -> tuple[float, RopeScaling | None]:
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
            trained = rope.maybe("original_max_position_embeddings") or fields.whole(
                "max_position_embeddings"
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


def dtype_of(fields: Fields) -> str | None:
    """The number format that the file names; None where it leaves that to the weights."""
    key = "dtype" if fields.has("dtype") else "torch_dtype"
    name = fields.values.get(key)
    if name is None or name == "auto":
        return None
    if not isinstance(name, str):
        raise fields.refuse(key, f"it must be one of {', '.join(DTYPES)}")
    return name.removeprefix("torch.")


def number_format(fields: Fields) -> str:
    """What the weights are stored in: one of DTYPES; float32 where nothing says which."""
    name = dtype_of(fields) or "float32"
    if name not in DTYPES:
        key = "dtype" if fields.has("dtype") else "torch_dtype"
        raise fields.refuse(key, f"it must be one of {', '.join(DTYPES)}")
    return name
