"""Llama and its relatives: one module, shaped by ModelConfig.

Llama 1, 2 and 3, Vicuna, Alpaca, SmolLM, Mistral (sliding window), Qwen2 (bias on q, k, v) and
Qwen3 (norm of q and k heads) differ by configuration alone. Inference only; rows of all
sequences of a step run together, shaped [rows, hidden].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from berth.kernels.batch import LayerCache, StepBatch
from berth.kernels.ops import AttentionShape, HeadNorm, TorchOps, make_ops
from berth.models.config import ModelConfig
from berth.models.parallel import ColumnLinear, Group, RowLinear, TokenEmbedding, divide
from berth.models.rope import rotary_tables
from berth.models.weights.names import tensor_shapes
from berth.models.weights.source import WeightSource

# Called after each layer of a forward pass and each tensor of a load: proof of life.
Progress = Callable[[], None]


class Attention(nn.Module):
    """Grouped-query attention with rotary positions over the block cache."""

    def __init__(self, config: ModelConfig, group: Group, layer: int, ops: TorchOps) -> None:
        super().__init__()
        self.ops = ops
        self.shape = AttentionShape(
            heads=divide(config.num_heads, group.degree),
            kv_heads=divide(config.num_kv_heads, group.degree),
            head_dim=config.head_dim,
            window=config.window(layer),
            interleaved=config.rope_interleaved,
        )
        total_heads = config.num_heads + 2 * config.num_kv_heads
        self.qkv = ColumnLinear(config.hidden_size, total_heads * config.head_dim)
        self.out = RowLinear(config.num_heads * config.head_dim, config.hidden_size)
        self.norm: HeadNorm | None = None

    def forward(
        self,
        x: torch.Tensor,
        batch: StepBatch,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        cache: LayerCache,
    ) -> torch.Tensor:
        qkv = self.qkv(x)
        self.ops.rope_append(qkv, batch, cosine, sine, cache, self.shape, self.norm)
        y: torch.Tensor = self.out(self.ops.attend(qkv, batch, cache, self.shape))
        return y


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
        cosine: torch.Tensor,
        sine: torch.Tensor,
        cache: LayerCache,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, residual = self.ops.add_rmsnorm(x, residual, self.input_norm, self.eps)
        x = self.attention(x, batch, cosine, sine, cache)
        x, residual = self.ops.add_rmsnorm(x, residual, self.post_norm, self.eps)
        return self.mlp(x), residual


class Llama(nn.Module):
    """The decoder and its output head, this rank's share of it."""

    def __init__(
        self, config: ModelConfig, group: Group, dtype: torch.dtype, positions: int
    ) -> None:
        """`positions`: the longest sequence that will be run, in tokens."""
        super().__init__()
        self.config = config
        self.group = group
        self.dtype = dtype
        self.ops = make_ops(group.device, dtype)
        self.embedding = TokenEmbedding(config.vocab_size, config.hidden_size)
        self.layers = [Layer(config, group, i, self.ops) for i in range(config.num_layers)]
        self.final_norm = torch.empty(0)
        self.head = ColumnLinear(config.hidden_size, config.vocab_size, gather_output=True)
        self.cosine, self.sine = rotary_tables(config, positions, group.device)

    def forward(
        self, batch: StepBatch, caches: list[LayerCache], progress: Progress | None = None
    ) -> torch.Tensor:
        """Run one step, filling the caches. Returns logits [logit rows, vocab] in self.dtype."""
        x = self.embedding(batch.tokens)
        residual: torch.Tensor | None = None
        for layer, cache in zip(self.layers, caches, strict=True):
            x, residual = layer(x, residual, batch, self.cosine, self.sine, cache)
            if progress is not None:
                progress()
        assert residual is not None
        if batch.logit_rows is not None:
            x, residual = x[batch.logit_rows], residual[batch.logit_rows]
        x, _ = self.ops.add_rmsnorm(x, residual, self.final_norm, self.config.norm_eps)
        logits: torch.Tensor = self.head(x)
        return logits

    def cache_bytes_per_block(self) -> int:
        """Bytes of one KV block over all layers, on this rank."""
        shape = self.layers[0].attention.shape
        return self.config.num_layers * LayerCache.bytes_per_block(
            shape.kv_heads, shape.head_dim, self.dtype
        )

    def make_caches(self, blocks: int) -> list[LayerCache]:
        """One cache of `blocks` blocks for each layer."""
        shape = self.layers[0].attention.shape
        return [
            LayerCache.empty(blocks, shape.kv_heads, shape.head_dim, self.dtype, self.group.device)
            for _ in self.layers
        ]

    def load(self, source: WeightSource, loaded: Callable[[int], None]) -> int:
        """Fill every weight, one tensor at a time. Returns this rank's bytes.

        Args:
            source: a folder of this model's configuration.
            loaded: called with the bytes just taken, after each tensor.

        Raises:
            WeightError: a tensor is missing, truncated, mis-shaped or of a wrong dtype.
        """
        source.check(tensor_shapes(self.config))
        return _Loader(self, source, loaded).run()


class _Loader:
    """Copies this rank's part of each tensor into the model."""

    def __init__(self, model: Llama, source: WeightSource, loaded: Callable[[int], None]) -> None:
        self.model = model
        self.config = model.config
        self.group = model.group
        self.source = source
        self.loaded = loaded
        self.shapes = tensor_shapes(model.config)
        self.bytes = 0

    def run(self) -> int:
        config, model = self.config, self.model
        embedding = self._rows(["model.embed_tokens.weight"], [config.vocab_size])
        model.embedding.fill(embedding)
        for i, layer in enumerate(model.layers):
            self._layer(layer, f"model.layers.{i}")
        model.final_norm = self._whole("model.norm.weight")
        if config.tie_embeddings:
            model.head.fill(embedding, pack=False)  # a packed one would be a second copy
        else:
            model.head.fill(self._rows(["lm_head.weight"], [config.vocab_size]))
        return self.bytes

    def _layer(self, layer: Layer, at: str) -> None:
        config, attn = self.config, f"{at}.self_attn"
        q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        layer.input_norm = self._whole(f"{at}.input_layernorm.weight")
        names = [f"{attn}.{n}_proj" for n in "qkv"]
        self._fill_columns(layer.attention.qkv, names, [q, kv, kv], config.qkv_bias)
        if config.qk_norm:
            layer.attention.norm = HeadNorm(
                self._whole(f"{attn}.q_norm.weight"),
                self._whole(f"{attn}.k_norm.weight"),
                config.norm_eps,
            )
        self._fill_row(layer.attention.out, f"{attn}.o_proj", config.out_bias)
        layer.post_norm = self._whole(f"{at}.post_attention_layernorm.weight")
        names = [f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"]
        inner = config.intermediate_size
        self._fill_columns(layer.mlp.gate_up, names, [inner, inner], config.mlp_bias)
        self._fill_row(layer.mlp.down, f"{at}.mlp.down_proj", config.mlp_bias)

    def _fill_columns(
        self, linear: ColumnLinear, names: list[str], sizes: list[int], bias: bool
    ) -> None:
        weight = self._rows([f"{name}.weight" for name in names], sizes)
        biases = self._rows([f"{name}.bias" for name in names], sizes) if bias else None
        linear.fill(weight, biases)

    def _fill_row(self, linear: RowLinear, name: str, bias: bool) -> None:
        width = linear.input_size_per_partition
        weight = self._empty(*linear.shape)
        self._copy(f"{name}.weight", weight, dim=1, start=self.group.rank * width, length=width)
        linear.fill(weight, self._whole(f"{name}.bias") if bias else None)

    def _rows(self, names: list[str], sizes: list[int]) -> torch.Tensor:
        """This rank's rows of several tensors, one below the other."""
        shares = [divide(size, self.group.degree) for size in sizes]
        width = () if names[0].endswith(".bias") else (self.config.hidden_size,)
        result = self._empty(sum(shares), *width)
        at = 0
        for name, share in zip(names, shares, strict=True):
            part = result[at : at + share]
            self._copy(name, part, dim=0, start=self.group.rank * share, length=share)
            at += share
        return result

    def _whole(self, name: str) -> torch.Tensor:
        result = self._empty(*self.shapes[name])
        self._copy(name, result, dim=0, start=0, length=None)
        return result

    def _empty(self, *shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=self.model.dtype, device=self.group.device)

    def _copy(
        self, name: str, into: torch.Tensor, *, dim: int, start: int, length: int | None
    ) -> None:
        into.copy_(self.source.read(name, dim=dim, start=start, length=length))
        self.source.release(name)
        self.bytes += into.nbytes
        self.loaded(into.nbytes)
