"""What is known of a model before its weights are read: one description for every caller. Pure.

Fit takes its sizes, the native engine its configuration, and `choose.engine_for` the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from berth.checkpoint.architectures import Native, by_class
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import ConfigError, UnknownArchitecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.hf_keys import dtype_of
from berth.checkpoint.layers import ModelNumbers
from berth.checkpoint.layout import Layout
from berth.checkpoint.numbers import class_of, numbers_of, sizes_of
from berth.checkpoint.purpose import complaint
from berth.checkpoint.quantised import method_of
from berth.checkpoint.usual import usual_sizes

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}  # of one element


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One model, as its folder or its repository describes it."""

    layout: Layout
    architecture: str  # the class that config.json names; what the native engine calls Meta's
    numbers: ModelNumbers | None  # None: its sizes are not known, and `unsized` says why
    unsized: str | None = None
    native: ModelConfig | None  # what the native engine computes; None: it does not
    refusal: str | None = None  # why it does not, if it knows the architecture
    quantization: str | None = None  # how the weights are packed, as `quantised.method_of` has it
    model_type: str | None = None
    remote_code: bool = False  # it brings Python of its own, by which transformers could load it
    complaint: str | None = None  # why no engine serves it, as `purpose.complaint` says it
    stored_bytes: int | None = None  # of all tensors, if the files' headers were read


def describe_hf(
    config: Mapping[str, Any],
    generation: Mapping[str, Any] | None = None,
    *,
    stored_bytes: int | None = None,
    stored_dtype: str | None = None,
) -> Description:
    """What a config.json says.

    Args:
        config: its content, completed from the weights' headers (`folder.read_hf_json`).
        generation: the content of generation_config.json, if there is one.
        stored_bytes: of all tensors, if their headers were read.
        stored_dtype: of most of those bytes. If config.json names another, the weights are loaded
            as that one (so does transformers), and `stored_bytes` is what they then take.

    Raises:
        ConfigError: it names no architecture.
    """
    fields = Fields(config)
    name = class_of(fields)
    numbers, unsized = _sizes(fields, stored_bytes)
    native, refusal = None, unsized
    if (known := by_class().get(name)) is None or known.native is None:
        refusal = None
    elif numbers is not None:
        native, refusal = _native(known.native, fields, numbers, generation)
    if numbers is not None and stored_bytes is not None and not numbers.quantization:
        stored_bytes = _as_loaded(stored_bytes, stored_dtype, numbers.dtype)
    kind = fields.values.get("model_type")
    return Description(
        layout="hf",
        architecture=name,
        numbers=numbers,
        unsized=unsized,
        native=native,
        refusal=refusal,
        quantization=method_of(config),
        model_type=kind if isinstance(kind, str) else None,
        remote_code=bool(fields.values.get("auto_map")),
        complaint=complaint(config),
        stored_bytes=stored_bytes,
    )


def _as_loaded(size: int, stored: str | None, loaded: str | None) -> int:
    if stored not in _BYTES or loaded not in _BYTES:
        return size
    return size * _BYTES[loaded] // _BYTES[stored]


def describe_meta(config: ModelConfig) -> Description:
    """What a params.json says: always a model of the native engine."""
    numbers = numbers_of(config)
    return Description(
        layout="meta", architecture=numbers.architecture, numbers=numbers, native=config
    )


def _sizes(fields: Fields, stored_bytes: int | None) -> tuple[ModelNumbers | None, str | None]:
    """The sizes, or None and why there are none."""
    try:
        try:
            numbers = sizes_of(fields)
        except UnknownArchitecture as unknown:
            # The files say how large the weights are, and the usual keys what a token keeps.
            if stored_bytes is None or (found := usual_sizes(unknown.architecture, fields)) is None:
                raise
            numbers = found
        if numbers.dtype is None and dtype_of(fields) is None:
            numbers = replace(numbers, dtype="float32")  # as transformers reads such a file
    except ConfigError as error:
        return None, str(error)
    return numbers, None


def _native(
    known: Native,
    fields: Fields,
    numbers: ModelNumbers,
    generation: Mapping[str, Any] | None,
) -> tuple[ModelConfig | None, str | None]:
    """What the native engine computes of an architecture that it knows; or None, and why."""
    names = fields.names("architectures") or []
    if len(names) > 1:
        return None, f"config.json: architectures names {len(names)} classes"
    try:
        return known.config(numbers, fields, generation), None
    except ConfigError as error:
        return None, str(error)
