"""The numbers of one model, from which its tensors and its memory follow. Pure: no torch, no I/O.

A model is a list of layers, each a mixer (which lets tokens see one another, and keeps the cache)
and a feed-forward part, so that mixed models (sliding and full attention, linear attention, state
spaces, dense and sparse layers) need no special case in whoever does arithmetic on them.

    numbers = from_config_json(json.loads(Path("config.json").read_text()))
    parameter_count(numbers)                    # 8030261248 for Llama 3.1 8B
    sum(cached_per_token(layer) for layer in numbers.layers)  # cache elements that a token adds

The types are those of `berth.checkpoint.layers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from berth.checkpoint.architectures import parse
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
    NumbersError,
    StateSpace,
    Tensor,
    UnknownArchitecture,
    cached_per_token,
    state_elements,
)
from berth.checkpoint.tensors import all_tensors

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
    "NumbersError",
    "StateSpace",
    "Tensor",
    "UnknownArchitecture",
    "cached_per_token",
    "from_config_json",
    "parameter_count",
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
        NumbersError: a key is missing or of the wrong type; names it.
    """
    return parse(config)
