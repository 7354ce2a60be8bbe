"""The operations of a layer that are no matrix product, in torch: they run on any device.

native_ops.py has the same ones in C, which give the same numbers up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from berth.kernels.batch import BLOCK, LayerCache, Prefill, StepBatch

# What the scores of a piece of a prompt may take in torch, if it builds them in full.
SCORE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """One layer's attention on this rank."""

    heads: int
    kv_heads: int
    head_dim: int
    window: int | None
    interleaved: bool
    cap: float | None = None  # a scaled score s counts as cap * tanh(s / cap) (Gemma 2)

    @property
    def width(self) -> int:
        """Columns of a fused query, key and value row."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim


@dataclass(frozen=True, slots=True)
class HeadNorm:
    """Qwen3's norm of each query and key head before rotation. Weights: [head_dim]."""

    q_weight: torch.Tensor
    k_weight: torch.Tensor
    eps: float


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """A norm that takes the mean away too. Weights: [hidden]."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float


class TorchOps:
    """Plain torch. What CUDA runs, and CPUs without a compiler."""

    def add_rmsnorm(
        self, x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (normalised sum, sum); the sum is written over `residual` if given."""
        residual = x.clone() if residual is None else residual.add_(x)
        return F.rms_norm(residual.float(), (x.shape[-1],), eps=eps).to(x.dtype) * weight, residual

    def add_layernorm(
        self, x: torch.Tensor, residual: torch.Tensor | None, norm: LayerNorm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (normalised sum, sum); the sum is written over `residual` if given."""
        residual = x.clone() if residual is None else residual.add_(x)
        return self.layernorm(residual, norm), residual

    def layernorm(self, x: torch.Tensor, norm: LayerNorm) -> torch.Tensor:
        """[rows, hidden], normalised."""
        return F.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias, norm.eps)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """x * (1 + erf(x / sqrt 2)) / 2; may be written over `x`."""
        return F.gelu(x)

    def silu_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        """[rows, 2 * n], gate first, to [rows, n]."""
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up

    def rope_append(
        self,
        qkv: torch.Tensor,
        batch: StepBatch,
        cosine: torch.Tensor | None,
        sine: torch.Tensor | None,
        cache: LayerCache,
        shape: AttentionShape,
        norm: HeadNorm | None,
    ) -> None:
        """Normalise and rotate q and k of `qkv` in place, if there is a norm and if there are
        angles; put k and v into the cache."""
        d, h, kv = shape.head_dim, shape.heads, shape.kv_heads
        heads = qkv.view(-1, h + 2 * kv, d)
        q, k, v = heads[:, :h], heads[:, h : h + kv], heads[:, h + kv :]
        if norm is not None:
            q.copy_(F.rms_norm(q.float(), (d,), eps=norm.eps).to(q.dtype) * norm.q_weight)
            k.copy_(F.rms_norm(k.float(), (d,), eps=norm.eps).to(k.dtype) * norm.k_weight)
        if cosine is not None and sine is not None:
            turned = heads[:, : h + kv]
            _rotate(turned, cosine[batch.positions], sine[batch.positions], shape.interleaved)
        block, offset = batch.cache_slots // BLOCK, batch.cache_slots % BLOCK
        cache.k[block, :, :, offset] = k
        cache.v[block, :, offset, :] = v

    def attend(
        self,
        qkv: torch.Tensor,
        batch: StepBatch,
        cache: LayerCache,
        shape: AttentionShape,
        alibi: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention of every row over its sequence's cache: [rows, heads * head_dim].

        alibi: added to the scores of each token before they are scaled: float32 [heads, whole
        blocks of tokens], numbers that bfloat16 has.
        """
        out = qkv.new_empty(qkv.shape[0], shape.heads * shape.head_dim)
        if batch.decode_rows.numel():
            self._attend_decode(qkv, out, batch, cache, shape, alibi)
        for prefill in batch.prefills:
            self._attend_prefill(qkv, out, prefill, cache, shape, alibi)
        return out

    def argmax(self, logits: torch.Tensor) -> torch.Tensor:
        """Index of the largest of each row; -1 if a row holds a NaN."""
        bad = logits.isnan().any(dim=-1)
        return logits.argmax(dim=-1).masked_fill_(bad, -1)

    def gather(
        self, cache: LayerCache, table: torch.Tensor, first: int, length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of tokens first to length: [kv_heads, length - first, head_dim] each."""
        low = first // BLOCK
        blocks = table[low : -(-length // BLOCK)].long()
        span = slice(first - low * BLOCK, length - low * BLOCK)
        k = cache.k[blocks].permute(1, 0, 3, 2).flatten(1, 2)[:, span]
        v = cache.v[blocks].permute(1, 0, 2, 3).flatten(1, 2)[:, span]
        return k, v

    def _attend_prefill(
        self,
        qkv: torch.Tensor,
        out: torch.Tensor,
        prefill: Prefill,
        cache: LayerCache,
        shape: AttentionShape,
        alibi: torch.Tensor | None,
    ) -> None:
        d = shape.head_dim
        rows = slice(prefill.row, prefill.row + prefill.count)
        start = prefill.length - prefill.count
        first = 0 if shape.window is None else max(0, start - shape.window + 1)
        k, v = self.gather(cache, prefill.table, first, prefill.length)
        q = qkv[rows, : shape.heads * d].view(prefill.count, shape.heads, d).transpose(0, 1)
        if alibi is not None:
            q, k, v = _with_bias_column(q, k, v, alibi[:, first : prefill.length])
        mixed = out[rows].view(prefill.count, shape.heads, d)
        if start == 0 and shape.window is None and shape.cap is None:
            whole = F.scaled_dot_product_attention(
                q[None],
                k[None],
                v[None],
                is_causal=True,
                scale=d**-0.5,
                enable_gqa=q.shape[0] != k.shape[0],
            )
            mixed.copy_(whole[0, ..., :d].transpose(0, 1))
            return
        at_once = rows_at_once(shape.heads, k.shape[0], prefill.length - first)
        for begin in range(0, prefill.count, at_once):
            end = min(begin + at_once, prefill.count)
            query = torch.arange(start + begin, start + end, device=q.device).unsqueeze(1)
            key = torch.arange(first, start + end, device=q.device)
            mask = key <= query
            if shape.window is not None:
                mask &= key > query - shape.window
            part = _attend_grouped(
                q[None, :, begin:end],
                k[None, :, : len(key)],
                v[None, :, : len(key)],
                mask[None, None],
                d**-0.5,
                shape.cap,
            )
            mixed[begin:end] = part[0, ..., :d].transpose(0, 1)

    def _attend_decode(
        self,
        qkv: torch.Tensor,
        out: torch.Tensor,
        batch: StepBatch,
        cache: LayerCache,
        shape: AttentionShape,
        alibi: torch.Tensor | None,
    ) -> None:
        d, kv = shape.head_dim, shape.kv_heads
        blocks = -(-batch.longest_decode // BLOCK)
        tables = batch.decode_tables[:, :blocks].long()
        n = tables.shape[0]
        k = cache.k[tables].permute(0, 2, 1, 4, 3).reshape(n, kv, blocks * BLOCK, d)
        v = cache.v[tables].permute(0, 2, 1, 3, 4).reshape(n, kv, blocks * BLOCK, d)
        token = torch.arange(blocks * BLOCK, device=qkv.device)
        mask = token < batch.decode_lengths.unsqueeze(1)
        if shape.window is not None:
            mask &= token >= (batch.decode_lengths - shape.window).unsqueeze(1)
        # Beyond a sequence's end lies stale memory: zero weight times NaN would still be NaN.
        k = k.masked_fill(~mask[:, None, :, None], 0.0)
        v = v.masked_fill(~mask[:, None, :, None], 0.0)
        q = qkv[batch.decode_rows, : shape.heads * d].view(n, shape.heads, 1, d)
        if alibi is not None:
            q, k, v = _with_bias_column(q, k, v, alibi[:, : blocks * BLOCK])
        mixed = _attend_grouped(q, k, v, mask[:, None, None], d**-0.5, shape.cap)
        out[batch.decode_rows] = mixed[..., :d].reshape(n, shape.heads * d)


def _rotate(
    heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, interleaved: bool
) -> None:
    """Rotate [rows, heads, head_dim] in place by the angles of each row: [rows, head_dim / 2]."""
    half = heads.shape[-1] // 2
    c, s = cosine.unsqueeze(1), sine.unsqueeze(1)
    first, second = (
        (heads[..., 0::2], heads[..., 1::2])
        if interleaved
        else (heads[..., :half], heads[..., half:])
    )
    a, b = first.float(), second.float()
    new_first, new_second = a * c - b * s, a * s + b * c  # both, before either is overwritten
    first.copy_(new_first)
    second.copy_(new_second)


def _with_bias_column(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, alibi: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q, k and v with one more dimension, whose product is the bias: no mask of queries by keys by
    heads has to be written. q: [..., heads, queries, dim]; k, v: [..., kv_heads, keys, dim]; alibi:
    [heads, keys], numbers that bfloat16 has, so that nothing is lost in any dtype.
    """
    group = q.shape[-3] // k.shape[-3]
    k, v = k.repeat_interleave(group, -3), v.repeat_interleave(group, -3)  # slopes differ by head
    column = alibi.to(k.dtype).unsqueeze(-1).expand(*k.shape[:-1], 1)
    return F.pad(q, (0, 1), value=1.0), torch.cat([k, column], -1), F.pad(v, (0, 1))


def rows_at_once(heads: int, kv_heads: int, reach: int) -> int:
    """Rows of a later chunk of a prompt that attend to `reach` tokens in one piece.

    If torch has no fused kernel, it builds scores and their softmax in float32 for every head,
    and a mask for every row of a group: no more than SCORE_BYTES of them, one row at least.
    """
    per_row = reach * (8 * heads + 5 * (heads // kv_heads))
    return max(1, SCORE_BYTES // per_row)


def _attend_grouped(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    cap: float | None,
) -> torch.Tensor:
    """Attention with a mask: q: [n, heads, rows, dim]; k, v: [n, kv_heads, keys, dim]; mask:
    [n, 1, rows, keys]. Returns [n, heads, rows, dim].

    The heads of a group are more rows of their kv head: torch's fused kernels take a mask or
    grouped heads but not both, and its plain way would repeat keys and values for every head.
    """
    n, heads, rows, dim = q.shape
    kv = k.shape[1]
    group = heads // kv
    if group > 1:
        q = q.reshape(n, kv, group * rows, dim)
        mask = mask.repeat(1, 1, group, 1)
    if cap is None:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    else:  # torch has no kernel for it; all in one buffer of float32, as fit counts it
        scores = (q @ k.transpose(-1, -2)).float().mul_(scale / cap).tanh_().mul_(cap)
        scores.masked_fill_(~mask, -torch.inf)
        scores.sub_(scores.amax(-1, keepdim=True)).exp_()  # each row sees itself at least
        mixed = scores.div_(scores.sum(-1, keepdim=True)).to(v.dtype) @ v
    return mixed.reshape(n, heads, rows, dim)
