"""Elements of one position of a layer, on one rank: those that a step computes, those it keeps.

And how large a step is. What an engine holds of them at a time, engines/ says.
"""

from __future__ import annotations

from dataclasses import dataclass

from berth.checkpoint.numbers import (
    Attention,
    LatentAttention,
    Layer,
    LinearAttention,
    Mlp,
    Moe,
    StateSpace,
    cached_per_token,
)
from berth.fit.units import ceil_div


@dataclass(frozen=True, slots=True)
class Step:
    """The largest step that may come."""

    tokens: int  # positions computed
    sequences: int
    context: int  # tokens of the longest sequence
    # Tokens of all sequences that decode gathers from the cache at once; None: every sequence
    # padded to the longest.
    gather: int | None = None
    sampled: int = 1  # sequences that sample at once, however long they are

    @property
    def gathered(self) -> int:
        padded = self.sequences * ceil_div(self.context, 16) * 16
        return padded if self.gather is None else min(padded, max(self.gather, self.context))


@dataclass(frozen=True, slots=True)
class Widths:
    """Elements of one position in one layer, on one rank."""

    hidden: int
    fused: int  # queries, keys and values
    out: int  # heads * value dim
    rotated: int  # queries and keys
    feed_forward: int
    kv: int  # keys and values of one token


def widths(hidden: int, layer: Layer, degree: int) -> Widths:
    """Of a layer that `degree` ranks share; `hidden` elements a position between layers."""
    fused = out = rotated = 0
    match layer.mixer:
        case Attention() as m:
            heads, kv = ceil_div(m.heads, degree), ceil_div(m.kv_heads, degree)
            rotated = (heads + kv) * m.head_dim
            fused = rotated + kv * m.values
            out = heads * m.values
        case LatentAttention() as m:
            heads = ceil_div(m.heads, degree)
            rotated = heads * (m.qk_nope_head_dim + m.qk_rope_head_dim)
            fused = 2 * rotated + (m.q_lora_rank or 0) + m.kv_lora_rank
            out = heads * m.v_head_dim
        case LinearAttention() as m:
            fused = ceil_div(2 * m.key_heads * m.key_dim + 2 * m.value_heads * m.value_dim, degree)
            out = ceil_div(m.value_heads * m.value_dim, degree)
        case StateSpace() as m:
            fused = ceil_div(m.inner + m.channels + m.heads, degree)
            out = ceil_div(m.inner, degree)
    return Widths(
        hidden=hidden,
        fused=fused,
        out=out,
        rotated=rotated,
        feed_forward=_feed_forward(layer, degree),
        kv=elements_per_token(layer, degree),
    )


def elements_per_token(layer: Layer, degree: int) -> int:
    """Cached elements of one token in one layer, on one rank.

    Every rank has at least one kv head: with more ranks than kv heads they are copied. A latent
    vector (MLA) serves all heads, so every rank keeps it whole.
    """
    mixer = layer.mixer
    if isinstance(mixer, Attention) and mixer.causal and mixer.cache_of is None:
        return ceil_div(mixer.kv_heads, degree) * (mixer.head_dim + mixer.values)
    return cached_per_token(layer)


def _feed_forward(layer: Layer, degree: int) -> int:
    match layer.feed_forward:
        case Mlp() as part:
            return ceil_div(part.intermediate, degree)
        case Moe() as part:
            each = ceil_div(part.intermediate, degree)
            return part.experts_per_token * each + ceil_div(part.shared + part.dense, degree)
        case _:
            return 0
