"""The numbers of one model, from which its tensors and its memory follow. Pure: no torch, no I/O.

A model is a list of layers, each a mixer (which lets tokens see one another, and keeps the cache)
and a feed-forward part, so that mixed models (sliding and full attention, linear attention, state
spaces, dense and sparse layers) need no special case in the arithmetic on them.

    numbers = from_config_json(json.loads(Path("config.json").read_text()))
    parameter_count(numbers)                    # 8030261248 for Llama 3.1 8B
    sum(cached_per_token(layer) for layer in numbers.layers)  # cache elements that a token adds

The types are those of `berth.checkpoint.layers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from berth.checkpoint.architectures import by_class, by_native_name, by_type
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import UnknownArchitecture
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import (
    Attention,
    AttentionKind,
    DtypeClass,
    FeedForward,
    LatentAttention,
    Layer,
    LinearAttention,
    Mixer,
    Mlp,
    ModelNumbers,
    Moe,
    StateSpace,
    Tensor,
    cached_per_token,
    state_elements,
)
from berth.checkpoint.packed import name_of_packing
from berth.checkpoint.tensors import all_tensors
from berth.checkpoint.towers import SEEING, with_tower

__all__ = [
    "Attention",
    "AttentionKind",
    "DtypeClass",
    "FeedForward",
    "LatentAttention",
    "Layer",
    "LinearAttention",
    "Mixer",
    "Mlp",
    "ModelNumbers",
    "Moe",
    "StateSpace",
    "Tensor",
    "cached_per_token",
    "class_of",
    "from_config_json",
    "numbers_of",
    "parameter_count",
    "sizes_of",
    "state_elements",
    "tensors",
]


def parameter_count(numbers: ModelNumbers) -> int:
    """How many numbers the model has learned, tied ones once."""
    return sum(tensor.elements for tensor in tensors(numbers))


def tensors(numbers: ModelNumbers) -> Iterator[Tensor]:
    """Every tensor of the model, the embedding first; a tied head is not repeated."""
    return all_tensors(numbers)


def from_config_json(config: Mapping[str, Any]) -> ModelNumbers:
    """The numbers that a Hugging Face config.json states.

    Raises:
        UnknownArchitecture: of a class that we have no tensors for; names it.
        ConfigError: a key is missing or of the wrong type; names it.
    """
    return sizes_of(Fields(config))


def sizes_of(fields: Fields) -> ModelNumbers:
    """`from_config_json`, of a file that is being read."""
    name = class_of(fields)
    if name in SEEING:
        return with_tower(name, fields, sizes_of)
    if (known := by_class().get(name)) is None:
        raise UnknownArchitecture(name)
    return known.sizes(known.name, fields)


def class_of(fields: Fields) -> str:
    """The class that config.json names, else the one of its model_type. Raises ConfigError."""
    if names := fields.names("architectures"):
        return names[0]
    if (kind := fields.text("model_type")) is None:
        raise fields.missing("architectures", "a list with one class name")
    known = by_type().get(kind)
    return kind if known is None else known.name


def numbers_of(config: ModelConfig) -> ModelNumbers:
    """The sizes of what the native engine computes; the inverse of an architecture's `config`."""
    known = by_native_name().get(config.architecture)
    layers = tuple(_layer(config, index) for index in range(config.num_layers))
    return ModelNumbers(
        architecture=config.architecture if known is None else known.name,
        hidden=config.hidden_size,
        vocab=config.vocab_size,
        layers=layers,
        context=config.max_position,
        tied=config.tie_embeddings,
        norm_bias=config.norm_bias,
        rotations=1 if config.rope_local_theta is None else 2,
        dtype=config.dtype,
        quantization=name_of_packing(config.weight_format, config.head_packed),
    )


def _layer(config: ModelConfig, index: int) -> Layer:
    attention = Attention(
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        window=config.window(index),
        qkv_bias=config.qkv_bias,
        out_bias=config.out_bias,
        qk_norm="head" if config.qk_norm else "none",
    )
    mlp = Mlp(intermediate=config.intermediate_size, gated=config.gated_mlp, bias=config.mlp_bias)
    return Layer(mixer=attention, feed_forward=mlp, norms=config.norms_per_layer)
