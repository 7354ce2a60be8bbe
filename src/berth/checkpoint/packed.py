"""What the native engine reads of a quantization_config: 8-bit integers, a scale for each output.

That is compressed-tensors' W8A16 with one scale a channel, which llm-compressor writes as
"pack-quantized" and others as "int-quantized". All that changes an answer and is not computed is
refused by key and value. Source: compressed_tensors/quantization/quant_config.py and quant_args.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields
from berth.checkpoint.weight_format import INT8, INT8_WORDS, PLAIN

_KEY = "quantization_config"
_FORMATS = {"int-quantized": INT8.name, "pack-quantized": INT8_WORDS.name}
# Of a group's weights: the value that is computed, and others that mean the same.
_WEIGHTS: dict[str, tuple[Any, ...]] = {
    "num_bits": (8,),
    "type": ("int", None),
    "strategy": ("channel",),
    "symmetric": (True, None),
    "dynamic": (False, None),
    "group_size": (None, -1),
    "block_structure": (None,),
    "actorder": (None,),
}
_HEAD = frozenset({"lm_head", "re:.*lm_head", "re:.*lm_head$", "re:lm_head"})


def packed_layers(fields: Fields) -> dict[str, Any]:
    """The fields of ModelConfig about the format of weights; none if they are plain.

    Raises:
        ConfigError: they are packed in another way than the native engine reads.
    """
    key = next((k for k in (_KEY, "compression_config") if fields.has(k)), None)
    if key is None:
        return {}
    described = fields.values[key]
    if not isinstance(described, dict) or described.get("quant_method") != "compressed-tensors":
        raise fields.refuse(
            key,
            "these quantised weights are not read; use a folder in float32, float16 or bfloat16, "
            "or of compressed-tensors with 8-bit weights and one scale a channel",
        )
    inner = Fields(described, fields.file, f"{key}.")
    name = described.get("format")
    if not isinstance(name, str) or name not in _FORMATS:
        raise inner.refuse("format", f"read are {' and '.join(_FORMATS)}")
    _refuse_other_groups(inner, name)
    if described.get("quantization_status", "compressed") != "compressed":
        raise inner.refuse("quantization_status", "only compressed weights are read")
    if inner.has("kv_cache_scheme"):
        raise inner.refuse("kv_cache_scheme", "the cache is not quantised")
    if (sparse := described.get("sparsity_config")) and not (
        isinstance(sparse, dict) and sparse.get("format", "dense") == "dense"
    ):
        raise inner.refuse("sparsity_config", "sparse weights are not read")
    if described.get("transform_config"):
        raise inner.refuse("transform_config", "transforms are not computed")
    return {"weight_format": _FORMATS[name], "head_packed": not _leaves_head_out(inner)}


def is_read_natively(config: Mapping[str, Any]) -> bool:
    """Whether a config.json says that weights are packed, and in a way that the native engine reads
    (if it computes the architecture).
    """
    try:
        return bool(packed_layers(Fields(config)))
    except ConfigError:
        return False


def packing_of(fields: Fields) -> str | None:
    """How ModelNumbers calls the way in which weights are packed: ours, else the quant_method."""
    try:
        found = packed_layers(fields)
    except ConfigError:
        found = {}
    if found:
        return name_of_packing(found["weight_format"], found["head_packed"])
    described = fields.nested("quantization_config")
    return described.text("quant_method") if described else None


def name_of_packing(weight_format: str, head_packed: bool) -> str | None:
    """As `packing_of`, of a ModelConfig's fields."""
    if weight_format == PLAIN.name:
        return None
    return "int8-channel-head" if head_packed else "int8-channel"


def _refuse_other_groups(inner: Fields, name: str) -> None:
    groups = inner.values.get("config_groups")
    if not isinstance(groups, dict) or len(groups) != 1:
        raise inner.refuse("config_groups", "it must have one group")
    (label, group) = next(iter(groups.items()))
    if not isinstance(group, dict):
        raise inner.refuse("config_groups", "a group must be an object")
    each = Fields(group, inner.file, f"{inner.prefix}config_groups.{label}.")
    if group.get("targets") != ["Linear"]:
        raise each.refuse("targets", 'it must be ["Linear"]')
    if group.get("format", name) not in (name, None):
        raise each.refuse("format", f"it must be {name}, as for the whole")
    for key in ("input_activations", "output_activations"):
        if each.has(key):
            raise each.refuse(key, "quantised activations are not computed")
    weights = group.get("weights")
    if not isinstance(weights, dict):
        raise each.refuse("weights", "it must be an object")
    told = Fields(weights, inner.file, f"{each.prefix}weights.")
    for key, allowed in _WEIGHTS.items():
        value = weights.get(key)
        if not any(value is one or (type(value), value) == (type(one), one) for one in allowed):
            raise told.refuse(key, f"it must be {allowed[0]!r}")


def _leaves_head_out(inner: Fields) -> bool:
    """Whether `ignore` names the output head. Raises ConfigError if it names anything else."""
    names = inner.values.get("ignore") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise inner.refuse("ignore", "it must be a list of names")
    if not _HEAD.issuperset(names):
        raise inner.refuse("ignore", "the only layer that may be left as it is, is lm_head")
    return bool(names)
