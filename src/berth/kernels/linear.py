"""Products of few rows with a packed bfloat16 weight: linear.c, on CPUs with AMX."""

from __future__ import annotations

import functools
from ctypes import c_int, c_int64, c_void_p
from typing import Any

import torch

from berth.kernels.library import library

STEP = 32  # k has to be a multiple of it
# Above so many rows arithmetic counts, not memory, and oneDNN blocks for the caches.
MOST_ROWS = 96


@functools.cache
def _functions() -> tuple[Any, Any] | None:
    """(linear, linear_layout) of the compiled library; None where this CPU has no AMX."""
    lib = library()
    if lib is None or not hasattr(lib, "linear_ready") or not lib.linear_ready():
        return None
    lib.linear.argtypes = [c_void_p] * 4 + [c_int64] * 3
    lib.linear.restype = None
    lib.linear_layout.argtypes = [c_void_p] * 2 + [c_int64] * 2
    lib.linear_layout.restype = c_int
    return lib.linear, lib.linear_layout


def available() -> bool:
    """Whether this CPU and this build have it."""
    return _functions() is not None


class FewRows:
    """y = x @ weight.T + bias for at most MOST_ROWS rows of x."""

    def __init__(self, run: Any, packed: torch.Tensor, address: int, n: int, k: int) -> None:
        self._run = run
        self._packed = packed  # keeps what is at the address alive
        self._address = address
        self._n, self._k = n, k

    @classmethod
    def of(cls, weight: torch.Tensor, packed: torch.Tensor) -> FewRows | None:
        """For `packed`, oneDNN's own tensor made of `weight` [n, k]. None where this CPU, the shape
        or the layout that oneDNN chose is not one that linear.c knows.
        """
        functions = _functions()
        n, k = weight.shape
        if functions is None or weight.dtype != torch.bfloat16 or k % STEP:
            return None
        run, laid_out_so = functions
        elements = -(-n // STEP) * STEP * k
        if torch.ops.mkldnn._nbytes(packed) < elements * weight.element_size():
            return None
        address = int(torch.ops.mkldnn.data_ptr(packed))
        if not laid_out_so(weight.data_ptr(), address, n, k):
            return None
        return cls(run, packed, address, n, k)

    def __call__(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """x: [rows, k], contiguous bfloat16. Returns [rows, n]."""
        rows = x.shape[0]
        y = x.new_empty(rows, self._n)
        at_bias = None if bias is None else bias.data_ptr()
        self._run(x.data_ptr(), self._address, at_bias, y.data_ptr(), rows, self._n, self._k)
        return y
