"""What one step computes, as tensors: positions, their places in the cache, how far each sees."""

from __future__ import annotations

import contextlib
import mmap
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
    cache_slots: torch.Tensor  # int64 [rows]: block * BLOCK + offset in the cache
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
        cls,
        layers: int,
        blocks: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> list[LayerCache]:
        """Unfilled, one for each layer. All of it reads as zero, so that what was never written is
        at least a number; on CPU it takes memory only as it is written.
        """
        k, v = (blocks, kv_heads, head_dim, BLOCK), (blocks, kv_heads, BLOCK, head_dim)
        if device.type != "cpu":
            return [
                cls(*(torch.zeros(shape, dtype=dtype, device=device) for shape in (k, v)))
                for _ in range(layers)
            ]
        whole = _untouched(layers * blocks * cls.bytes_per_block(kv_heads, head_dim, dtype), dtype)
        halves = whole.view(layers, 2, -1)
        return [cls(keys.view(k), values.view(v)) for keys, values in halves]


def _untouched(size: int, dtype: torch.dtype) -> torch.Tensor:
    """`size` bytes of zeros that take no memory until they are written, as one flat tensor.

    Fresh pages of the kernel's, for torch.zeros writes them all, and torch.empty may give
    used memory. In pages of 2 MiB, if the kernel gives those on request: attention is
    5 to 10 % faster than through pages of 4 KiB. All layers are in one mapping, so that rounding up
    to whole pages costs once and not for each of them.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype)
