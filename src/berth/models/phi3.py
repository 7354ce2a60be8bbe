"""Phi-3 and Phi-4: Llama's layers, stored with one matrix for queries, keys and values and one for
gate and up. Phi-4-mini rotates only a part of each head.
"""

from __future__ import annotations

import torch

from berth.models.decoder import Attention
from berth.models.linear import choose_linear
from berth.models.llama import Layer, Llama
from berth.models.loading import Loader, Rows


class Phi3(Llama):
    """The decoder and its output head, this rank's share of it."""

    def _load_layer(self, loader: Loader, layer: Layer, at: str) -> None:
        layer.input_norm = loader.whole(f"{at}.input_layernorm.weight")
        self._load_attention(loader, layer.attention, f"{at}.self_attn")
        layer.post_norm = loader.whole(f"{at}.post_attention_layernorm.weight")
        width = self.config.intermediate_size
        mine = layer.mlp.down.input_size_per_partition
        first = self.group.rank * mine
        fused = f"{at}.mlp.gate_up_proj"
        parts = [Rows(fused, first, mine), Rows(fused, width + first, mine)]
        loader.fill_columns(layer.mlp.gate_up, parts, bias=False)
        loader.fill_row(layer.mlp.down, f"{at}.mlp.down_proj", bias=False)

    def _load_attention(self, loader: Loader, attention: Attention, at: str) -> None:
        config, share, dim = self.config, attention.share, attention.shape.head_dim
        fused = f"{at}.qkv_proj"
        keys = config.num_heads * dim
        values = keys + config.num_kv_heads * dim
        parts = [
            Rows(fused, share.first * dim, share.heads * dim),
            Rows(fused, keys + share.first_kv * dim, share.kv_heads * dim),
            Rows(fused, values + share.first_kv * dim, share.kv_heads * dim),
        ]
        packed = loader.packed_rows(parts)
        if config.rotary_dim is not None:
            heads = share.heads + share.kv_heads
            packed.reorder_rows(rotated_apart(heads, dim, config.rotary_dim))
        attention.qkv.fill(choose_linear(packed))
        loader.fill_row(attention.out, f"{at}.o_proj", bias=False)


def rotated_apart(heads: int, head_dim: int, rotary: int) -> torch.Tensor:
    """The order of the rows of `heads` heads whose first `rotary` dimensions are rotated, in which
    dimension i is rotated with i + head_dim / 2, as in a head that is rotated whole: [rows].

    Queries and keys are reordered alike, so their products stay what they are. The angles of the
    dimensions left over are zero (models/rope.py).
    """
    half = rotary // 2
    rest = (head_dim - rotary) // 2
    order = torch.tensor(
        [
            *range(half),
            *range(rotary, rotary + rest),
            *range(half, rotary),
            *range(rotary + rest, head_dim),
        ]
    )
    return (torch.arange(heads)[:, None] * head_dim + order).flatten()


MODEL = Phi3
