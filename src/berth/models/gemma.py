"""Gemma 2 and 3: one module, shaped by ModelConfig.

Both scale the embeddings, normalise before and after attention and MLP, gate by GELU and slide in
some layers. Gemma 2 caps scores and logits; Gemma 3 normalises query and key heads and rotates the
layers that slide by a base of their own.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from berth.checkpoint.config import ModelConfig
from berth.kernels.batch import LayerCache, StepBatch
from berth.kernels.ops import HeadNorm, TorchOps
from berth.models import llama
from berth.models.decoder import Attention, Decoder
from berth.models.linear import choose_linear
from berth.models.loading import Loader
from berth.models.parallel import Group
from berth.models.positions import PositionTables, position_tables


class MLP(llama.MLP):
    """down(gelu(gate(x)) * up(x)), with tanh's approximation of GELU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        y: torch.Tensor = self.down(F.gelu(gate, approximate="tanh").mul_(up))
        return y


class Layer(nn.Module):
    """One transformer block. Takes and returns (x, residual); their sum is the hidden state."""

    def __init__(self, config: ModelConfig, group: Group, layer: int, ops: TorchOps) -> None:
        super().__init__()
        self.ops = ops
        self.eps = config.norm_eps
        self.attention = Attention(config, group, layer, ops)
        self.mlp = MLP(config, ops)
        self.local: PositionTables | None = None  # angles of its own
        self.input_norm = self.attended_norm = torch.empty(0)
        self.mlp_norm = self.output_norm = torch.empty(0)

    def forward(
        self,
        x: torch.Tensor,
        residual: torch.Tensor | None,
        batch: StepBatch,
        positions: PositionTables,
        cache: LayerCache,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        norm = self.ops.add_rmsnorm
        x, residual = norm(x, residual, self.input_norm, self.eps)
        x = self.attention(x, batch, self.local or positions, cache)
        x, _ = norm(x, None, self.attended_norm, self.eps)
        x, residual = norm(x, residual, self.mlp_norm, self.eps)
        x, _ = norm(self.mlp(x), None, self.output_norm, self.eps)
        return x, residual


class Gemma(Decoder):
    """The decoder and its output head, this rank's share of it."""

    def __init__(
        self, config: ModelConfig, group: Group, dtype: torch.dtype, positions: int
    ) -> None:
        super().__init__(config, group, dtype, positions)
        self.final_norm = torch.empty(0)
        if config.rope_local_theta is None:
            return
        sliding = replace(config, rope_theta=config.rope_local_theta, rope_scaling=None)
        share = self.layers[0].attention.share
        local = position_tables(sliding, share, positions, group)
        for index, layer in enumerate(self.layers):
            if config.window(index) is not None:
                layer.local = local

    def make_layer(self, index: int) -> Layer:
        return Layer(self.config, self.group, index, self.ops)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        scale = torch.tensor(self.config.embedding_scale, dtype=self.dtype)  # rounded, as trained
        return super().embed(tokens) * scale.to(self.group.device)

    def normalise(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return self.ops.add_rmsnorm(x, residual, self.final_norm, self.config.norm_eps)[0]

    def finish(self, logits: torch.Tensor) -> torch.Tensor:
        cap = self.config.logit_softcap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def load_layers(self, loader: Loader) -> None:
        for index, layer in enumerate(self.layers):
            self._load_layer(loader, layer, f"model.layers.{index}")
        self.final_norm = _norm(loader, "model.norm")

    def _load_layer(self, loader: Loader, layer: Layer, at: str) -> None:
        config, name = self.config, f"{at}.self_attn"
        layer.input_norm = _norm(loader, f"{at}.input_layernorm")
        layer.attended_norm = _norm(loader, f"{at}.post_attention_layernorm")
        layer.mlp_norm = _norm(loader, f"{at}.pre_feedforward_layernorm")
        layer.output_norm = _norm(loader, f"{at}.post_feedforward_layernorm")
        attention, scale = layer.attention, config.query_scale
        parts = llama.head_rows(attention, name)
        packed = loader.packed_rows(parts)
        bias = loader.rows(parts, "bias") if config.qkv_bias else None
        if config.qk_norm:  # what follows a norm cannot be scaled before it
            query = _norm(loader, f"{name}.q_norm") * scale
            key = _norm(loader, f"{name}.k_norm")
            attention.norm = HeadNorm(query, key, config.norm_eps)
        else:
            mine = attention.share.heads * attention.shape.head_dim
            packed.scale_rows(mine, scale)
            if bias is not None:
                bias[:mine] *= scale
        attention.qkv.fill(choose_linear(packed, bias))
        loader.fill_row(attention.out, f"{name}.o_proj", config.out_bias)
        gate_up = [loader.share(f"{at}.mlp.{part}_proj") for part in ("gate", "up")]
        loader.fill_columns(layer.mlp.gate_up, gate_up, bias=False)
        loader.fill_row(layer.mlp.down, f"{at}.mlp.down_proj", bias=False)


def _norm(loader: Loader, name: str) -> torch.Tensor:
    """A norm's weight, of which the files hold what is beside one."""
    return loader.whole(f"{name}.weight") + 1.0


MODEL = Gemma
