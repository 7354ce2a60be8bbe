"""Falcon, of all its generations: one module, shaped by ModelConfig.

falcon-rw (multi-head, ALiBi, biases, attention then MLP), falcon-7b (multi-query, rotary, both side
by side behind one norm), falcon-40b and -180b (grouped heads, a norm each), falcon-11B (grouped,
one norm) differ by configuration alone.
"""

from __future__ import annotations

import torch
from torch import nn

from berth.checkpoint.architectures.falcon import norm_names
from berth.checkpoint.config import ModelConfig
from berth.kernels.batch import LayerCache, StepBatch
from berth.kernels.ops import LayerNorm, TorchOps
from berth.models.decoder import Attention, Decoder
from berth.models.loading import Loader, Rows
from berth.models.parallel import ColumnLinear, Group, RowLinear
from berth.models.positions import PositionTables


class MLP(nn.Module):
    """down(gelu(up(x)))."""

    def __init__(self, config: ModelConfig, ops: TorchOps) -> None:
        super().__init__()
        self.ops = ops
        self.up = ColumnLinear(config.hidden_size, config.intermediate_size)
        self.down = RowLinear(config.intermediate_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.down(self.widen(x))
        return y

    def widen(self, x: torch.Tensor) -> torch.Tensor:
        """gelu(up(x)): [rows, this rank's share of the width]."""
        return self.ops.gelu(self.up(x))


class Layer(nn.Module):
    """One transformer block. Takes and returns (x, residual); their sum is the hidden state.

    `norms` has attention's norm, and the MLP's if it does not share that one.
    """

    def __init__(self, config: ModelConfig, group: Group, layer: int, ops: TorchOps) -> None:
        super().__init__()
        self.ops = ops
        self.parallel = config.parallel_attention
        self.attention = Attention(config, group, layer, ops)
        self.mlp = MLP(config, ops)
        self.norms: list[LayerNorm] = []

    def forward(
        self,
        x: torch.Tensor,
        residual: torch.Tensor | None,
        batch: StepBatch,
        positions: PositionTables,
        cache: LayerCache,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, residual = self.ops.add_layernorm(x, residual, self.norms[0])
        if not self.parallel:
            x = self.attention(x, batch, positions, cache)
            x, residual = self.ops.add_layernorm(x, residual, self.norms[1])
            return self.mlp(x), residual
        mlp_x = x if len(self.norms) == 1 else self.ops.layernorm(residual, self.norms[1])
        mixed = self.attention.mix(x, batch, positions, cache)
        return self.mlp.down.plus(self.mlp.widen(mlp_x), self.attention.out, mixed), residual


class Falcon(Decoder):
    """The decoder and its output head, this rank's share of it."""

    final_norm: LayerNorm

    def make_layer(self, index: int) -> Layer:
        return Layer(self.config, self.group, index, self.ops)

    def normalise(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self.ops.add_layernorm(x, residual, self.final_norm)[0]

    def load_layers(self, loader: Loader) -> None:
        for index, layer in enumerate(self.layers):
            self._load_layer(loader, layer, f"transformer.h.{index}")
        self.final_norm = self._norm(loader, "transformer.ln_f")

    def _load_layer(self, loader: Loader, layer: Layer, at: str) -> None:
        config, attention = self.config, f"{at}.self_attention"
        layer.norms = [self._norm(loader, f"{at}.{name}") for name in norm_names(config)]
        rows = self._head_rows(layer.attention, f"{attention}.query_key_value")
        loader.fill_columns(layer.attention.qkv, rows, config.qkv_bias)
        loader.fill_row(layer.attention.out, f"{attention}.dense", config.out_bias)
        up = [loader.share(f"{at}.mlp.dense_h_to_4h")]
        loader.fill_columns(layer.mlp.up, up, config.mlp_bias)
        loader.fill_row(layer.mlp.down, f"{at}.mlp.dense_4h_to_h", config.mlp_bias)

    def _norm(self, loader: Loader, name: str) -> LayerNorm:
        weight, bias = loader.whole(f"{name}.weight"), loader.whole(f"{name}.bias")
        return LayerNorm(weight, bias, self.config.norm_eps)

    def _head_rows(self, attention: Attention, name: str) -> list[Rows]:
        """This rank's rows of the fused tensor, in our order: queries, keys, values.

        In the file they lie by kv head: the query heads that share it, its key, its value. That
        holds for every generation: with multi-query there is one such group, with multi-head as
        many as there are heads.
        """
        share, dim = attention.share, attention.shape.head_dim
        group = self.config.num_heads // self.config.num_kv_heads
        each = share.heads // share.kv_heads  # query heads of a kv head on this rank
        kv_heads = range(share.first_kv, share.first_kv + share.kv_heads)
        queries = [kv * (group + 2) + share.first % group for kv in kv_heads]
        keys = [kv * (group + 2) + group for kv in kv_heads]
        return [
            *(Rows(name, at * dim, each * dim) for at in queries),
            *(Rows(name, at * dim, dim) for at in keys),
            *(Rows(name, (at + 1) * dim, dim) for at in keys),
        ]


MODEL = Falcon
