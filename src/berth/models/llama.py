"""Llama and its relatives: one module, shaped by ModelConfig.

Llama 1, 2 and 3, Vicuna, Alpaca, SmolLM, Mistral (sliding window), Qwen2 (bias on q, k, v) and
Qwen3 (norm of q and k heads) differ by configuration alone.
"""

from __future__ import annotations

import torch
from torch import nn

from berth.checkpoint.config import ModelConfig
from berth.kernels.batch import LayerCache, StepBatch
from berth.kernels.ops import HeadNorm, TorchOps
from berth.models.decoder import Attention, Decoder
from berth.models.loading import Loader, Rows
from berth.models.parallel import ColumnLinear, Group, RowLinear
from berth.models.positions import PositionTables


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, ops: TorchOps) -> None:
        super().__init__()
        self.ops = ops
        self.gate_up = ColumnLinear(config.hidden_size, 2 * config.intermediate_size)
        self.down = RowLinear(config.intermediate_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.down(self.ops.silu_mul(self.gate_up(x)))
        return y


class Layer(nn.Module):
    """One transformer block. Takes and returns (x, residual); their sum is the hidden state."""

    def __init__(self, config: ModelConfig, group: Group, layer: int, ops: TorchOps) -> None:
        super().__init__()
        self.ops = ops
        self.eps = config.norm_eps
        self.attention = Attention(config, group, layer, ops)
        self.mlp = MLP(config, ops)
        self.input_norm = torch.empty(0)
        self.post_norm = torch.empty(0)

    def forward(
        self,
        x: torch.Tensor,
        residual: torch.Tensor | None,
        batch: StepBatch,
        positions: PositionTables,
        cache: LayerCache,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, residual = self.ops.add_rmsnorm(x, residual, self.input_norm, self.eps)
        x = self.attention(x, batch, positions, cache)
        x, residual = self.ops.add_rmsnorm(x, residual, self.post_norm, self.eps)
        return self.mlp(x), residual


class Llama(Decoder):
    """The decoder and its output head, this rank's share of it."""

    def __init__(
        self, config: ModelConfig, group: Group, dtype: torch.dtype, positions: int
    ) -> None:
        super().__init__(config, group, dtype, positions)
        self.final_norm = torch.empty(0)

    def make_layer(self, index: int) -> Layer:
        return Layer(self.config, self.group, index, self.ops)

    def normalise(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self.ops.add_rmsnorm(x, residual, self.final_norm, self.config.norm_eps)[0]

    def load_layers(self, loader: Loader) -> None:
        for index, layer in enumerate(self.layers):
            self._load_layer(loader, layer, f"model.layers.{index}")
        self.final_norm = loader.whole("model.norm.weight")

    def _load_layer(self, loader: Loader, layer: Layer, at: str) -> None:
        config, attention = self.config, f"{at}.self_attn"
        layer.input_norm = loader.whole(f"{at}.input_layernorm.weight")
        loader.fill_columns(
            layer.attention.qkv, head_rows(layer.attention, attention), config.qkv_bias
        )
        if config.qk_norm:
            layer.attention.norm = HeadNorm(
                loader.whole(f"{attention}.q_norm.weight"),
                loader.whole(f"{attention}.k_norm.weight"),
                config.norm_eps,
            )
        loader.fill_row(layer.attention.out, f"{attention}.o_proj", config.out_bias)
        layer.post_norm = loader.whole(f"{at}.post_attention_layernorm.weight")
        gate_up = [loader.share(f"{at}.mlp.{name}_proj") for name in ("gate", "up")]
        loader.fill_columns(layer.mlp.gate_up, gate_up, config.mlp_bias)
        loader.fill_row(layer.mlp.down, f"{at}.mlp.down_proj", config.mlp_bias)


def head_rows(attention: Attention, at: str) -> list[Rows]:
    """This rank's query, key and value rows."""
    share, dim = attention.share, attention.shape.head_dim
    key = share.first_kv * dim, share.kv_heads * dim
    return [
        Rows(f"{at}.q_proj", share.first * dim, share.heads * dim),
        Rows(f"{at}.k_proj", *key),
        Rows(f"{at}.v_proj", *key),
    ]


MODEL = Llama
