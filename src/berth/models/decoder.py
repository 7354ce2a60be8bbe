"""What every decoder of the native engine has: embedding, layers over the block cache, head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from berth.checkpoint.config import ModelConfig
from berth.kernels.batch import LayerCache, StepBatch
from berth.kernels.native_ops import make_ops
from berth.kernels.ops import AttentionShape, HeadNorm, TorchOps
from berth.models.formats import PlainWeight
from berth.models.linear import choose_linear
from berth.models.loading import Loader
from berth.models.parallel import ColumnLinear, Group, RowLinear, TokenEmbedding, share_heads
from berth.models.positions import PositionTables, position_tables
from berth.models.weights.names import HEAD, embedding_name, tensor_shapes
from berth.models.weights.source import WeightSource

# Called after each layer of a forward pass and each tensor of a load: proof of life.
Progress = Callable[[], None]


class Attention(nn.Module):
    """Attention over the block cache: multi-head, grouped or multi-query, rotary or ALiBi."""

    def __init__(self, config: ModelConfig, group: Group, layer: int, ops: TorchOps) -> None:
        super().__init__()
        self.ops = ops
        self.share = share_heads(config.num_heads, config.num_kv_heads, group)
        self.shape = AttentionShape(
            heads=self.share.heads,
            kv_heads=self.share.kv_heads,
            head_dim=config.head_dim,
            window=config.window(layer),
            interleaved=config.rope_interleaved,
            cap=config.attention_softcap,
        )
        self.qkv = ColumnLinear(config.hidden_size, group.degree * self.shape.width)
        self.out = RowLinear(config.num_heads * config.head_dim, config.hidden_size)
        self.norm: HeadNorm | None = None

    def forward(
        self, x: torch.Tensor, batch: StepBatch, positions: PositionTables, cache: LayerCache
    ) -> torch.Tensor:
        y: torch.Tensor = self.out(self.mix(x, batch, positions, cache))
        return y

    def mix(
        self, x: torch.Tensor, batch: StepBatch, positions: PositionTables, cache: LayerCache
    ) -> torch.Tensor:
        """What the heads gathered, before the output product: [rows, heads * head_dim]."""
        qkv = self.qkv(x)
        self.ops.rope_append(
            qkv, batch, positions.cosine, positions.sine, cache, self.shape, self.norm
        )
        return self.ops.attend(qkv, batch, cache, self.shape, positions.alibi)


class Decoder(nn.Module, ABC):
    """One rank's share of a decoder-only transformer. Inference only; rows of all sequences of a
    step run together, shaped [rows, hidden].
    """

    def __init__(
        self, config: ModelConfig, group: Group, dtype: torch.dtype, positions: int
    ) -> None:
        """
        Args:
            dtype: of activations and cache, and of weights that are stored as floats.
            positions: the longest sequence that will be run, in tokens.
        """
        super().__init__()
        self.config = config
        self.group = group
        self.dtype = dtype
        self.ops = make_ops(group.device, dtype)
        self.embedding = TokenEmbedding(config.vocab_size, config.hidden_size)
        self.layers: list[Any] = [self.make_layer(i) for i in range(config.num_layers)]
        self.head = ColumnLinear(config.hidden_size, config.vocab_size, gather_output=True)
        share = share_heads(config.num_heads, config.num_kv_heads, group)
        self.positions = position_tables(config, share, positions, group)

    @abstractmethod
    def make_layer(self, index: int) -> nn.Module:
        """A layer: (x, residual, batch, positions, cache) to (x, residual), where x + residual is
        the hidden state, and residual is None before the first layer. Its Attention is `attention`.
        """

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """The first hidden state of each token: [rows, hidden]."""
        x: torch.Tensor = self.embedding(tokens)
        return x

    def finish(self, logits: torch.Tensor) -> torch.Tensor:
        """What is done to the logits last; may be written over them."""
        return logits

    @abstractmethod
    def normalise(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The final norm of x + residual."""

    @abstractmethod
    def load_layers(self, loader: Loader) -> None:
        """Fill the layers and the final norm."""

    def forward(
        self, batch: StepBatch, caches: list[LayerCache], progress: Progress | None = None
    ) -> torch.Tensor:
        """Run one step, filling the caches. Returns logits [logit rows, vocab] in self.dtype."""
        x = self.embed(batch.tokens)
        residual: torch.Tensor | None = None
        for layer, cache in zip(self.layers, caches, strict=True):
            x, residual = layer(x, residual, batch, self.positions, cache)
            if progress is not None:
                progress()
        assert residual is not None
        if batch.logit_rows is not None:
            x, residual = x[batch.logit_rows], residual[batch.logit_rows]
        return self.finish(self.head(self.normalise(x, residual)))

    @property
    def shape(self) -> AttentionShape:
        """Of one layer's cache; windows differ between layers, this does not."""
        shape: AttentionShape = self.layers[0].attention.shape
        return shape

    def cache_bytes_per_block(self) -> int:
        """Bytes of one KV block over all layers, on this rank."""
        return self.config.num_layers * LayerCache.bytes_per_block(
            self.shape.kv_heads, self.shape.head_dim, self.dtype
        )

    def make_caches(self, blocks: int) -> list[LayerCache]:
        """One cache of `blocks` blocks for each layer."""
        shape = self.shape
        return LayerCache.empty(
            len(self.layers), blocks, shape.kv_heads, shape.head_dim, self.dtype, self.group.device
        )

    def load(self, source: WeightSource, loaded: Callable[[int], None]) -> int:
        """Fill every weight, one tensor at a time. Returns this rank's bytes.

        Args:
            source: a folder of this model's configuration.
            loaded: called with the bytes just taken, after each tensor.

        Raises:
            WeightError: a tensor is missing, truncated, mis-shaped or of a wrong dtype.
        """
        source.check(tensor_shapes(self.config))
        loader = Loader(source, self.group, self.dtype, loaded)
        name = embedding_name(self.config).removesuffix(".weight")
        embedding = loader.rows([loader.share(name)])
        self.embedding.fill(embedding)
        self.load_layers(loader)
        if self.config.tie_embeddings:
            # A packed one would be a second copy.
            self.head.fill(choose_linear(PlainWeight(embedding), pack=False))
        else:
            head = [loader.share(HEAD.removesuffix(".weight"))]
            loader.fill_columns(self.head, head, bias=False)
        return loader.bytes
