"""What a model is made of, as far as sizes go: layers, their mixers, their tensors. Pure.

Sizes are elements, never bytes; `Tensor.dtype` says which of a checkpoint's number formats
a tensor follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# What a quantisation scheme tells apart. "matrix" is what schemes quantise; the others usually
# keep the format that the checkpoint was trained in. "tower" are the matrices of a vision or audio
# tower, which the published quantised checkpoints leave as they were.
DtypeClass = Literal["matrix", "expert", "embedding", "head", "router", "vector", "tower"]
AttentionKind = Literal["full", "grouped", "multi-query"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint, or several that are always of one shape and fate."""

    name: str  # "layers.3.attention.q"; ours, not a checkpoint's
    shape: tuple[int, ...]
    shard: int | None = (
        None  # the dimension that tensor parallelism splits; None: every rank has all
    )
    units: int = 1  # indivisible pieces along it: heads, kv heads, columns; ranks must divide them
    dtype: DtypeClass = "matrix"
    layer: int | None = None  # None: not of a layer

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def is_kv(self) -> bool:
        """Keys and values are copied, not refused, if there are more ranks than kv heads."""
        return self.name.rsplit(".", 1)[-1] in ("k", "v", "k_bias", "v_bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Softmax attention over kept keys and values."""

    heads: int
    kv_heads: int
    head_dim: int  # of queries and keys
    value_dim: int | None = None  # of values, if they differ
    window: int | None = None  # tokens that it looks back, itself included; None: all
    causal: bool = True  # False: an encoder's, which keeps nothing
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: Literal["none", "head", "whole"] = "none"  # one weight per head_dim, or per heads * it
    sinks: bool = False  # one learned logit a head (gpt-oss)
    gated: bool = False  # the queries' matrix gives a gate too (Qwen3-Next)
    value_is_key: bool = False  # no matrix for values (some layers of Gemma 4)
    cache_of: int | None = None  # the layer whose keys and values it reads; None: its own

    @property
    def kind(self) -> AttentionKind:
        if self.kv_heads == 1 < self.heads:
            return "multi-query"
        return "grouped" if self.kv_heads < self.heads else "full"

    @property
    def values(self) -> int:
        """Elements of one head's value."""
        return self.head_dim if self.value_dim is None else self.value_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """DeepSeek's multi-head latent attention: one small vector a token is kept for all heads."""

    heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None = None  # None: queries are not compressed
    bias: bool = False
    # The indexer of sparse attention (DeepSeek V3.2, GLM 5): keeps one key a token besides.
    index_heads: int = 0
    index_head_dim: int = 0
    index_topk: int | None = None  # tokens that it picks
    shared_index: bool = False  # the choice is an earlier layer's: there is no indexer here


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAttention:
    """Gated DeltaNet (Qwen3-Next, Qwen3.5): a state of fixed size instead of a growing cache."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpace:
    """Mamba 2, or with a `rank` Mamba: a state of fixed size."""

    heads: int
    head_dim: int
    state: int
    groups: int
    conv_kernel: int
    conv_bias: bool = True
    bias: bool = False
    rank: int | None = None  # of the time steps: the first Mamba's, whose tensors are others

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim

    @property
    def channels(self) -> int:
        """Of the convolution."""
        return self.inner + 2 * self.groups * self.state


Mixer = Attention | LatentAttention | LinearAttention | StateSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """Up, down, and a gate if it has one."""

    intermediate: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moe:
    """A router and its experts."""

    experts: int
    experts_per_token: int
    intermediate: int  # of one expert
    gated: bool = True
    bias: bool = False  # of the experts' matrices
    router_bias: bool = False
    correction: bool = False  # a balancing bias, one number an expert (DeepSeek V3)
    shared: int = 0  # intermediate size of the expert that every token uses; 0: none
    shared_gate: bool = False  # that expert's answer has a gate (Qwen)
    latent: int | None = None  # experts work on a projection of this width (Nemotron 3 Super)
    dense: int = 0  # intermediate size of a dense part beside the experts (Gemma 4); 0: none


FeedForward = Mlp | Moe


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: a mixer or None, a feed-forward part or None, and its norms."""

    mixer: Mixer | None
    feed_forward: FeedForward | None
    norms: int = 2  # vectors of the hidden size
    extra: tuple[Tensor, ...] = ()  # what one family alone has


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNumbers:
    """One model. Sizes in elements, context in tokens."""

    architecture: str  # the class that config.json names
    hidden: int
    vocab: int
    layers: tuple[Layer, ...]
    context: int | None  # tokens that it was made for; None: config.json does not say
    tied: bool = False  # the output head is the embedding
    head: bool = True  # False: an encoder, which has none
    head_bias: bool = False
    norm_bias: bool = False  # LayerNorm, against RMSNorm
    final_norm: bool = True
    embedding_norm: bool = False  # BERT's
    positions: int = 0  # rows of a learned position table
    token_types: int = 0  # rows of BERT's table of segments
    pooler: bool = False  # BERT's dense layer over the first token
    rotations: int = 1  # kinds of rotary angles: layers with a window may have their own
    dtype: str | None = None  # the checkpoint's, as config.json says it
    quantization: str | None = None  # how weights are packed: packed.py's name, or quant_method
    extra: tuple[Tensor, ...] = ()  # a vision tower, per-layer embeddings …
    # What belongs to the checkpoint and is not in these numbers, in words. If this is not
    # empty, the numbers give no exact size.
    missing: tuple[str, ...] = ()
    # What the checkpoint has besides and plain serving does not load (it makes files larger).
    unused: tuple[str, ...] = ()

    @property
    def intermediate(self) -> int:
        """The widest feed-forward part that one token passes, for activations."""
        return max((_width(layer.feed_forward) for layer in self.layers), default=0)

    @property
    def heads(self) -> int:
        """Attention heads of the layers that have any; 0 if none does."""
        return max(
            (m.heads for m in self._mixers() if not isinstance(m, LinearAttention)), default=0
        )

    @property
    def kv_heads(self) -> int:
        """The fewest of any layer, which is what sharding is measured against; 0 without any."""
        return min((m.kv_heads for m in self._mixers() if isinstance(m, Attention)), default=0)

    @property
    def generates(self) -> bool:
        return self.head

    def _mixers(self) -> list[Mixer]:
        return [layer.mixer for layer in self.layers if layer.mixer is not None]


def _width(part: FeedForward | None) -> int:
    match part:
        case None:
            return 0
        case Mlp():
            return part.intermediate
        case Moe():
            return part.experts_per_token * part.intermediate + part.shared + part.dense


def cached_per_token(layer: Layer) -> int:
    """Elements that one token adds to the cache of a layer, before any window cuts it.

    Keys and values of every kv head; the latent vector and its rotary part (and the indexer's
    key); nothing for a state of fixed size, an encoder, or a layer that reads another's cache.
    """
    match layer.mixer:
        case Attention(causal=True, cache_of=None) as mixer:
            return mixer.kv_heads * (mixer.head_dim + mixer.values)
        case LatentAttention() as mixer:
            return mixer.kv_lora_rank + mixer.qk_rope_head_dim + mixer.index_head_dim
        case _:
            return 0


def state_elements(layer: Layer) -> tuple[int, int]:
    """Elements that a sequence of any length keeps in a layer: recurrent state, convolution."""
    match layer.mixer:
        case LinearAttention() as mixer:
            channels = 2 * mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim
            state = mixer.value_heads * mixer.key_dim * mixer.value_dim
            return state, channels * (mixer.conv_kernel - 1)
        case StateSpace() as mixer:
            return mixer.inner * mixer.state, mixer.channels * (mixer.conv_kernel - 1)
        case _:
            return 0, 0
