"""A model's tensors by Hugging Face's names, and Llama's names and sharding in Meta's layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from berth.checkpoint.architectures import Native, by_native_name
from berth.checkpoint.config import ModelConfig
from berth.checkpoint.meta_files import SHARD, shard_names
from berth.checkpoint.native import EMBEDDING, HEAD
from berth.checkpoint.weight_format import FORMATS, PLAIN, StoredTensor
from berth.models.weights.source import WeightError

__all__ = [
    "EMBEDDING",
    "HEAD",
    "embedding_name",
    "format_of",
    "meta_name",
    "meta_shard_dim",
    "native_of",
    "shard_files",
    "stored_tensors",
    "tensor_shapes",
]

# Hugging Face's name: (Meta's name, dimension along which Meta's shards divide it).
# None: every shard holds the whole tensor. The embedding's dimension depends on the generation:
# Llama 1 and 2 divide the hidden size, Llama 3 the vocabulary; MetaSource reads it off the shapes.
_TOP: dict[str, tuple[str, int | None]] = {
    EMBEDDING: ("tok_embeddings.weight", None),
    "model.norm.weight": ("norm.weight", None),
    HEAD: ("output.weight", 0),
}
_LAYER: dict[str, tuple[str, int | None]] = {
    "self_attn.q_proj.weight": ("attention.wq.weight", 0),
    "self_attn.k_proj.weight": ("attention.wk.weight", 0),
    "self_attn.v_proj.weight": ("attention.wv.weight", 0),
    "self_attn.o_proj.weight": ("attention.wo.weight", 1),
    "mlp.gate_proj.weight": ("feed_forward.w1.weight", 0),
    "mlp.down_proj.weight": ("feed_forward.w2.weight", 1),
    "mlp.up_proj.weight": ("feed_forward.w3.weight", 0),
    "input_layernorm.weight": ("attention_norm.weight", None),
    "post_attention_layernorm.weight": ("ffn_norm.weight", None),
}
_LAYER_NAME = re.compile(r"model\.layers\.(\d+)\.(.+)")


def meta_name(name: str) -> str | None:
    """Meta's name of Hugging Face's `name`; None if Meta's layout has no such tensor."""
    if match := _LAYER_NAME.fullmatch(name):
        entry = _LAYER.get(match[2])
        return f"layers.{match[1]}.{entry[0]}" if entry else None
    return _TOP[name][0] if name in _TOP else None


def meta_shard_dim(name: str) -> int | None:
    """Dimension along which Meta divides Hugging Face's `name`; None: it is whole everywhere."""
    if match := _LAYER_NAME.fullmatch(name):
        return _LAYER[match[2]][1]
    return _TOP[name][1]


def shard_files(folder: Path) -> list[Path]:
    """Meta's weight files, in order. Raises WeightError if there are none, or one is missing."""
    names = shard_names(folder)
    if not names:
        raise WeightError("tok_embeddings.weight", "consolidated.00.pth", "the file is missing")
    for number, name in enumerate(names):
        match = SHARD.fullmatch(name)
        if match is not None and int(match[1] or 0) != number:
            missing = f"consolidated.{number:02d}.{match[2]}"
            why = f"the file is missing; the folder holds {', '.join(names)}"
            raise WeightError("tok_embeddings.weight", missing, why)
    return [folder / name for name in names]


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Full shape of every tensor that `config` needs, by Hugging Face's name, in file order.

    The output head is absent if it is tied to the embedding.
    """
    return native_of(config).tensors(config)


def stored_tensors(
    config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, StoredTensor]:
    """The tensors that files have for those of `shapes`: several for the weight of a linear layer
    that is packed.
    """
    found: dict[str, StoredTensor] = {}
    for name, shape in shapes.items():
        stored = FORMATS[format_of(config, name, shape)]
        if stored is PLAIN:
            found[name] = StoredTensor(shape)
        else:
            layer = name.removesuffix("weight")
            tensors = stored.tensors(shape[0], shape[1])
            found |= {f"{layer}{part}": tensor for part, tensor in tensors.items()}
    return found


def format_of(config: ModelConfig, name: str, shape: tuple[int, ...]) -> str:
    """The format of one of the model's tensors, as `checkpoint.weight_format` names it: every
    matrix but the embedding is a linear layer's.
    """
    plain = config.weight_format == PLAIN.name or len(shape) != 2 or name == embedding_name(config)
    if plain or (name == HEAD and not config.head_packed):
        return PLAIN.name
    return config.weight_format


def embedding_name(config: ModelConfig) -> str:
    """The token embedding of `config`, in Hugging Face's layout."""
    return native_of(config).embedding


def native_of(config: ModelConfig) -> Native:
    """How the native engine computes the architecture of `config`."""
    native = by_native_name()[config.architecture].native
    assert native is not None
    return native
