"""What one step computes, as tensors: the positions, where they lie, who looks back how far."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

BLOCK = 16  # tokens of a KV block; kernels.c is built for it


@dataclass(slots=True)
class Prefill:
    """Several new positions of one sequence: rows `row` to `row + count` of the step."""

    row: int
    count: int
    length: int  # tokens in the cache once these are, they included
    table: torch.Tensor  # int32 [blocks of the sequence]


@dataclass(slots=True)
class StepBatch:
    """One step of one rank. Rows are positions, those of one sequence next to each other."""

    tokens: torch.Tensor  # int64 [rows]
    positions: torch.Tensor  # int64 [rows]
    slots: torch.Tensor  # int64 [rows]: block * BLOCK + offset in the cache
    # Sequences with a single new position (decode, mostly).
    decode_rows: torch.Tensor  # int64 [n]
    decode_lengths: torch.Tensor  # int64 [n]: tokens to look at, the new one included
    decode_tables: torch.Tensor  # int32 [n, blocks]
    longest_decode: int = 0
    prefills: list[Prefill] = field(default_factory=list)
    logit_rows: torch.Tensor | None = None  # int64: rows whose logits are wanted; None: all


@dataclass(slots=True)
class LayerCache:
    """Keys and values of one layer, this rank's kv heads.

    k: [blocks, kv_heads, head_dim, BLOCK], so that the scores of a block are one vector;
    v: [blocks, kv_heads, BLOCK, head_dim].
    """

    k: torch.Tensor
    v: torch.Tensor

    @staticmethod
    def bytes_per_block(kv_heads: int, head_dim: int, dtype: torch.dtype) -> int:
        """Bytes of one block of one layer."""
        return 2 * kv_heads * head_dim * BLOCK * dtype.itemsize

    @classmethod
    def empty(
        cls, blocks: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> LayerCache:
        """Unfilled. Memory is zero, so that what was never written is at least a number."""
        return cls(
            torch.zeros(blocks, kv_heads, head_dim, BLOCK, dtype=dtype, device=device),
            torch.zeros(blocks, kv_heads, BLOCK, head_dim, dtype=dtype, device=device),
        )
