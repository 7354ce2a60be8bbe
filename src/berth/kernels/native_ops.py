"""The operations of a layer that are no matrix product, in C; and the choice between C and torch.

`NativeOps` replaces the methods of `TorchOps` by the kernels of kernels.c if rows are bfloat16 or
float32 on CPU. `make_ops` chooses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p, pointer

import torch

from berth.kernels.batch import LayerCache, Prefill, StepBatch
from berth.kernels.choose import Shift
from berth.kernels.library import library
from berth.kernels.ops import AttentionShape, HeadNorm, LayerNorm, TorchOps


def _at(tensor: torch.Tensor | None) -> c_void_p | None:
    return None if tensor is None else c_void_p(tensor.data_ptr())


class NativeOps(TorchOps):
    """The kernels of kernels.c, for one element type. Tensors must be contiguous, on CPU.

    With AVX-512 a token gets the same bits in a prefill, however it is cut, as in a decode.
    """

    shifts = True

    def __init__(self, lib: ctypes.CDLL, dtype: torch.dtype) -> None:
        self.dtype = dtype
        suffix = {torch.bfloat16: "bf16", torch.float32: "f32"}[dtype]

        def function(name: str, *argtypes: type) -> Callable[..., None]:
            found: ctypes._NamedFuncPointer = getattr(lib, f"{name}_{suffix}")
            found.argtypes = argtypes
            found.restype = None
            return found

        p, i, f = c_void_p, c_int64, c_float
        self._add_rmsnorm = function("add_rmsnorm", p, p, p, p, i, i, f, c_int)
        self._add_layernorm = function("add_layernorm", p, p, p, p, p, i, i, f, c_int)
        self._gelu = function("gelu", p, i, i)
        self._silu_mul = function("silu_mul", p, p, i, i)
        self._rope_append = function("rope_append", p, p, p, p, p, p, p, p, p, i, i, i, i, f, c_int)
        shape = (i, i, i, i, f, f, i, p, i)  # from the rows' width on, as both ways take it
        self._decode = function("attend_decode", p, p, p, p, p, p, p, i, i, *shape)
        self._copy_out = function("gather", p, p, p, p, p, i, i, i, i)
        self._prefill: Callable[..., None] | None = None
        if lib.prefill_ready():
            self._prefill = function("attend_prefill", p, p, p, p, p, i, i, *shape)
        self._argmax = function("argmax", p, p, i, i)
        self._choose = function("choose", p, p, p, i, i)

    def add_rmsnorm(
        self, x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        out = torch.empty_like(x)
        add = residual is not None
        total = torch.empty_like(x) if residual is None else residual
        rows, dim = x.shape
        self._add_rmsnorm(_at(x), _at(total), _at(weight), _at(out), rows, dim, eps, add)
        return out, total

    def add_layernorm(
        self, x: torch.Tensor, residual: torch.Tensor | None, norm: LayerNorm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total = torch.empty_like(x) if residual is None else residual
        return self._layernorm(x, total, norm, add=residual is not None), total

    def layernorm(self, x: torch.Tensor, norm: LayerNorm) -> torch.Tensor:
        return self._layernorm(None, x, norm, add=False)

    def _layernorm(
        self, x: torch.Tensor | None, total: torch.Tensor, norm: LayerNorm, add: bool
    ) -> torch.Tensor:
        out = torch.empty_like(total)
        rows, dim = total.shape
        weights = _at(norm.weight), _at(norm.bias)
        self._add_layernorm(_at(x), _at(total), *weights, _at(out), rows, dim, norm.eps, add)
        return out

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        rows, dim = x.shape
        self._gelu(_at(x), rows, dim)
        return x

    def silu_mul(self, gate_up: torch.Tensor) -> torch.Tensor:
        rows, width = gate_up.shape
        out = gate_up.new_empty(rows, width // 2)
        self._silu_mul(_at(gate_up), _at(out), rows, width // 2)
        return out

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
        self._rope_append(
            _at(qkv),
            _at(batch.positions),
            _at(batch.cache_slots),
            _at(cosine),
            _at(sine),
            _at(norm.q_weight) if norm else None,
            _at(norm.k_weight) if norm else None,
            _at(cache.k),
            _at(cache.v),
            qkv.shape[0],
            shape.heads,
            shape.kv_heads,
            shape.head_dim,
            norm.eps if norm else 0.0,
            shape.interleaved,
        )

    def argmax(self, logits: torch.Tensor) -> torch.Tensor:
        rows, width = logits.shape
        out = torch.empty(rows, dtype=torch.int64)
        self._argmax(_at(logits), _at(out), rows, width)
        return out

    def choose(self, logits: torch.Tensor, shifts: Sequence[Shift]) -> list[int]:
        rows, width = logits.shape
        # An array of pointers, which holds what they point at.
        pointers = (POINTER(Shift) * rows)(*map(pointer, shifts))
        out = (c_int64 * rows)()
        self._choose(_at(logits), pointers, out, rows, width)
        return list(out)

    def gather(
        self, cache: LayerCache, table: torch.Tensor, first: int, length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        _, kv_heads, head_dim, _ = cache.k.shape
        k = cache.k.new_empty(kv_heads, length - first, head_dim)
        v = torch.empty_like(k)
        where = _at(cache.k), _at(cache.v), _at(table), _at(k), _at(v)
        self._copy_out(*where, first, length, kv_heads, head_dim)
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
        if self._prefill is None:
            super()._attend_prefill(qkv, out, prefill, cache, shape, alibi)
            return
        self._prefill(
            _at(qkv[prefill.row]),
            _at(out[prefill.row]),
            _at(cache.k),
            _at(cache.v),
            _at(prefill.table),
            prefill.count,
            prefill.length,
            *_shaped(shape, alibi),
        )

    def _attend_decode(
        self,
        qkv: torch.Tensor,
        out: torch.Tensor,
        batch: StepBatch,
        cache: LayerCache,
        shape: AttentionShape,
        alibi: torch.Tensor | None,
    ) -> None:
        tables = batch.decode_tables
        self._decode(
            _at(qkv),
            _at(out),
            _at(cache.k),
            _at(cache.v),
            _at(batch.decode_rows),
            _at(batch.decode_lengths),
            _at(tables),
            tables.stride(0),
            tables.shape[0],
            *_shaped(shape, alibi),
        )


def _shaped(shape: AttentionShape, alibi: torch.Tensor | None) -> tuple[object, ...]:
    """The last arguments of both attention kernels."""
    return (
        shape.width,
        shape.heads,
        shape.kv_heads,
        shape.head_dim,
        shape.head_dim**-0.5,
        shape.cap or 0.0,
        shape.window or 0,
        _at(alibi),
        0 if alibi is None else alibi.stride(0),
    )


def make_ops(device: torch.device, dtype: torch.dtype) -> TorchOps:
    """The fastest operations for this device and element type."""
    if device.type == "cpu" and dtype in (torch.bfloat16, torch.float32):
        lib = library()
        if lib is not None:
            return NativeOps(lib, dtype)
    return TorchOps()
