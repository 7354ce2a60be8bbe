"""Which tensors a model of given numbers has: names, shapes, and how ranks may share them."""

from __future__ import annotations

from collections.abc import Iterator

from berth.checkpoint.layers import (
    Attention,
    LatentAttention,
    Layer,
    LinearAttention,
    Mlp,
    ModelNumbers,
    Moe,
    StateSpace,
    Tensor,
)


def all_tensors(numbers: ModelNumbers) -> Iterator[Tensor]:
    """See `berth.checkpoint.numbers.tensors`."""
    hidden, vocab = numbers.hidden, numbers.vocab
    yield Tensor("embedding", (vocab, hidden), 0, vocab, "embedding")
    if numbers.positions:
        yield Tensor("positions", (numbers.positions, hidden), dtype="embedding")
    if numbers.token_types:
        yield Tensor("token_types", (numbers.token_types, hidden), dtype="embedding")
    if numbers.embedding_norm:
        yield from _norm("embedding_norm", hidden, None, numbers.norm_bias)
    for index, layer in enumerate(numbers.layers):
        yield from _layer(numbers, index, layer)
    if numbers.final_norm:
        yield from _norm("norm", hidden, None, numbers.norm_bias)
    if numbers.pooler:
        yield Tensor("pooler", (hidden, hidden))
        yield Tensor("pooler_bias", (hidden,), dtype="vector")
    if numbers.head and not numbers.tied:
        yield Tensor("head", (vocab, hidden), 0, vocab, "head")
    if numbers.head_bias:
        yield Tensor("head_bias", (vocab,), 0, vocab, "vector")
    yield from numbers.extra


def _norm(name: str, size: int, layer: int | None, bias: bool) -> Iterator[Tensor]:
    yield Tensor(name, (size,), dtype="vector", layer=layer)
    if bias:
        yield Tensor(f"{name}_bias", (size,), dtype="vector", layer=layer)


def _layer(numbers: ModelNumbers, index: int, layer: Layer) -> Iterator[Tensor]:
    parts = _Part(f"layers.{index}", index)
    for number in range(layer.norms):
        yield from _norm(f"layers.{index}.norm{number}", numbers.hidden, index, numbers.norm_bias)
    mixer = layer.mixer
    if isinstance(mixer, Attention):
        yield from _attention(parts.under("attention"), mixer, numbers.hidden)
    elif isinstance(mixer, LatentAttention):
        yield from _latent(parts.under("attention"), mixer, numbers.hidden)
    elif isinstance(mixer, LinearAttention):
        yield from _linear(parts.under("linear"), mixer, numbers.hidden)
    elif isinstance(mixer, StateSpace):
        yield from _state_space(parts.under("state"), mixer, numbers.hidden)
    if isinstance(layer.feed_forward, Mlp):
        yield from _mlp(parts.under("mlp"), layer.feed_forward, numbers.hidden)
    elif isinstance(layer.feed_forward, Moe):
        yield from _moe(parts.under("moe"), layer.feed_forward, numbers.hidden)
    yield from layer.extra


class _Part:
    """Makes the tensors of one part of one layer. A matrix is stored [out, in]."""

    def __init__(self, prefix: str, layer: int) -> None:
        self._prefix = prefix
        self._layer = layer

    def under(self, name: str) -> _Part:
        return _Part(f"{self._prefix}.{name}", self._layer)

    def column(self, name: str, out: int, into: int, units: int, bias: bool) -> Iterator[Tensor]:
        """Split by what comes out; its bias with it."""
        yield Tensor(f"{self._prefix}.{name}", (out, into), 0, units, layer=self._layer)
        if bias:
            yield self.vector(f"{name}_bias", out, units)

    def row(self, name: str, out: int, into: int, units: int, bias: bool) -> Iterator[Tensor]:
        """Split by what goes in; the bias is added once, after the sum."""
        yield Tensor(f"{self._prefix}.{name}", (out, into), 1, units, layer=self._layer)
        if bias:
            yield self.vector(f"{name}_bias", out)

    def whole(self, name: str, out: int, into: int, bias: bool = False) -> Iterator[Tensor]:
        yield Tensor(f"{self._prefix}.{name}", (out, into), layer=self._layer)
        if bias:
            yield self.vector(f"{name}_bias", out)

    def vector(self, name: str, size: int, units: int | None = None) -> Tensor:
        shard = None if units is None else 0
        return Tensor(
            f"{self._prefix}.{name}", (size,), shard, units or 1, "vector", layer=self._layer
        )

    def experts(self, name: str, shape: tuple[int, int, int], shard: int) -> Tensor:
        """All experts' matrices of one kind: [expert, out, in]."""
        return Tensor(
            f"{self._prefix}.{name}", shape, shard, shape[shard], "expert", layer=self._layer
        )

    def router(self, experts: int, hidden: int) -> Tensor:
        name = f"{self._prefix}.router"
        return Tensor(name, (experts, hidden), dtype="router", layer=self._layer)


def _attention(part: _Part, a: Attention, hidden: int) -> Iterator[Tensor]:
    queries = a.heads * a.head_dim
    yield from part.column("q", queries * (2 if a.gated else 1), hidden, a.heads, a.qkv_bias)
    if a.cache_of is None:
        yield from part.column("k", a.kv_heads * a.head_dim, hidden, a.kv_heads, a.qkv_bias)
        if not a.value_is_key:
            yield from part.column("v", a.kv_heads * a.values, hidden, a.kv_heads, a.qkv_bias)
    yield from part.row("o", hidden, a.heads * a.values, a.heads, a.out_bias)
    if a.qk_norm != "none":
        whole = a.qk_norm == "whole"
        yield part.vector("q_norm", queries if whole else a.head_dim, a.heads if whole else None)
        if a.cache_of is None:
            keys = a.kv_heads * a.head_dim if whole else a.head_dim
            yield part.vector("k_norm", keys, a.kv_heads if whole else None)
    if a.sinks:
        yield part.vector("sinks", a.heads, a.heads)


def _latent(part: _Part, a: LatentAttention, hidden: int) -> Iterator[Tensor]:
    head = a.qk_nope_head_dim + a.qk_rope_head_dim
    if a.q_lora_rank is None:
        yield from part.column("q", a.heads * head, hidden, a.heads, False)
    else:
        yield from part.whole("q_a", a.q_lora_rank, hidden, a.bias)
        yield part.vector("q_a_norm", a.q_lora_rank)
        yield from part.column("q_b", a.heads * head, a.q_lora_rank, a.heads, False)
    yield from part.whole("kv_a", a.kv_lora_rank + a.qk_rope_head_dim, hidden, a.bias)
    yield part.vector("kv_a_norm", a.kv_lora_rank)
    out = a.heads * (a.qk_nope_head_dim + a.v_head_dim)
    yield from part.column("kv_b", out, a.kv_lora_rank, a.heads, False)
    yield from part.row("o", hidden, a.heads * a.v_head_dim, a.heads, a.bias)
    if a.index_heads and not a.shared_index:
        if a.q_lora_rank is None:
            raise AssertionError("an indexer reads the compressed queries")
        yield from part.whole("index_q", a.index_heads * a.index_head_dim, a.q_lora_rank)
        yield from part.whole("index_k", a.index_head_dim, hidden)
        yield from _norm_of(part, "index_k_norm", a.index_head_dim)
        yield from part.whole("index_weights", a.index_heads, hidden)


def _norm_of(part: _Part, name: str, size: int) -> Iterator[Tensor]:
    yield part.vector(name, size)
    yield part.vector(f"{name}_bias", size)


def _linear(part: _Part, a: LinearAttention, hidden: int) -> Iterator[Tensor]:
    keys, values = a.key_heads * a.key_dim, a.value_heads * a.value_dim
    channels = 2 * keys + values
    yield from part.column("qk", 2 * keys, hidden, a.key_heads, False)
    yield from part.column("v_gate", 2 * values, hidden, a.value_heads, False)
    yield from part.column("beta_alpha", 2 * a.value_heads, hidden, a.value_heads, False)
    yield part.vector("conv", channels * a.conv_kernel, a.key_heads)
    yield part.vector("a_log", a.value_heads, a.value_heads)
    yield part.vector("dt_bias", a.value_heads, a.value_heads)
    yield part.vector("norm", a.value_dim)
    yield from part.row("o", hidden, values, a.value_heads, False)


def _first_state_space(part: _Part, s: StateSpace, hidden: int, rank: int) -> Iterator[Tensor]:
    """Mamba's: no engine splits it."""
    yield from part.whole("in", 2 * s.inner, hidden, s.bias)
    yield part.vector("conv", s.inner * s.conv_kernel)
    if s.conv_bias:
        yield part.vector("conv_bias", s.inner)
    yield from part.whole("x", rank + 2 * s.state, s.inner)
    yield from part.whole("dt", s.inner, rank, bias=True)
    yield part.vector("a_log", s.inner * s.state)
    yield part.vector("d", s.inner)
    yield from part.whole("out", hidden, s.inner, s.bias)


def _state_space(part: _Part, s: StateSpace, hidden: int) -> Iterator[Tensor]:
    if s.rank is not None:
        yield from _first_state_space(part, s, hidden, s.rank)
        return
    into = s.inner + s.channels + s.heads  # gate, what is convolved, time steps
    yield from part.column("in", into, hidden, s.groups, s.bias)
    yield part.vector("conv", s.channels * s.conv_kernel, s.groups)
    if s.conv_bias:
        yield part.vector("conv_bias", s.channels, s.groups)
    for name in ("a_log", "d", "dt_bias"):
        yield part.vector(name, s.heads, s.heads)
    yield part.vector("norm", s.inner, s.groups)
    yield from part.row("out", hidden, s.inner, s.groups, s.bias)


def _mlp(part: _Part, mlp: Mlp, hidden: int) -> Iterator[Tensor]:
    size = mlp.intermediate
    if mlp.gated:
        yield from part.column("gate", size, hidden, size, mlp.bias)
    yield from part.column("up", size, hidden, size, mlp.bias)
    yield from part.row("down", hidden, size, size, mlp.bias)


def _moe(part: _Part, moe: Moe, hidden: int) -> Iterator[Tensor]:
    yield part.router(moe.experts, hidden)
    if moe.router_bias:
        yield part.vector("router_bias", moe.experts)
    if moe.correction:
        yield part.vector("correction", moe.experts)
    width = hidden if moe.latent is None else moe.latent
    if moe.latent is not None:
        yield from part.whole("latent_in", moe.latent, hidden)
        yield from part.whole("latent_out", hidden, moe.latent)
    experts, size = moe.experts, moe.intermediate
    for name in ("gate", "up") if moe.gated else ("up",):
        yield part.experts(f"experts.{name}", (experts, size, width), 1)
        if moe.bias:
            yield part.vector(f"experts.{name}_bias", experts * size, size)
    yield part.experts("experts.down", (experts, width, size), 2)
    if moe.bias:
        yield part.vector("experts.down_bias", experts * width)
    if moe.shared:
        yield from _mlp(part.under("shared"), Mlp(intermediate=moe.shared, gated=moe.gated), hidden)
    if moe.shared_gate:
        yield from part.whole("shared_gate", 1, hidden)
    if moe.dense:
        yield from _mlp(part.under("dense"), Mlp(intermediate=moe.dense, gated=moe.gated), hidden)
