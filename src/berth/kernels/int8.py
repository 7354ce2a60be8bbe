"""x @ weight.T with int8 weights and a scale for each output: int8.c for few rows, else unpacked.

Many rows are worth unpacking a part of the weight at a time, and multiplying it as floats.
"""

from __future__ import annotations

import functools
from ctypes import c_int, c_int64, c_void_p
from typing import Any

import torch

from berth.kernels.library import library
from berth.kernels.linear import Linear, OneDnnLinear, TorchLinear

# Above so many rows arithmetic counts, not memory, and unpacking pays.
MOST_ROWS = 64
UNPACKED = 2**20  # elements that are unpacked at a time


@functools.cache
def _functions() -> tuple[Any, Any] | None:
    """(int8_linear, int8_linear_bf16) of the compiled library; None where there is none, and None
    for the second on a CPU that does not multiply bfloat16.
    """
    lib = library()
    if lib is None or not hasattr(lib, "int8_linear"):
        return None
    lib.int8_linear.argtypes = [c_void_p] * 5 + [c_int] + [c_int64] * 3
    lib.int8_linear.restype = None
    if not hasattr(lib, "int8_linear_bf16"):
        return lib.int8_linear, None
    lib.int8_linear_bf16.argtypes = [c_void_p] * 5 + [c_int64] * 3
    lib.int8_linear_bf16.restype = None
    return lib.int8_linear, lib.int8_linear_bf16


class Int8Linear(Linear):
    """y = (x @ weight.T) * scale + bias. Sums are of floats; activations are not quantised."""

    def __init__(
        self, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        """
        Args:
            weight: int8 [out, in], contiguous.
            scale: float32 [out].
            bias: [out], or None.
        """
        self._weight = weight
        self._scale = scale
        self._bias = None if bias is None else bias.float()
        self._out, self._width = weight.shape
        on_cpu = weight.device.type == "cpu" and self._out % 2 == 0
        functions: tuple[Any, Any] = (_functions() if on_cpu else None) or (None, None)
        self._run, self._run_narrow = functions

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._run is not None and x.shape[0] <= MOST_ROWS and x.dtype != torch.float16:
            return self._few(x)
        return self._many(x)

    def _few(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.shape[0]
        y = x.new_empty(rows, self._out)
        weight, scale = self._weight.data_ptr(), self._scale.data_ptr()
        bias = None if self._bias is None else self._bias.data_ptr()
        size = rows, self._out, self._width
        narrow = x.dtype == torch.bfloat16
        if narrow and self._run_narrow is not None:
            x = x.contiguous()
            self._run_narrow(x.data_ptr(), weight, scale, bias, y.data_ptr(), *size)
        else:
            assert self._run is not None
            x = x.float().contiguous()
            self._run(x.data_ptr(), weight, scale, bias, y.data_ptr(), narrow, *size)
        return y

    def _many(self, x: torch.Tensor) -> torch.Tensor:
        y = x.new_empty(x.shape[0], self._out)
        step = max(1, UNPACKED // self._width)
        for at in range(0, self._out, step):
            part = self._weight[at : at + step].to(x.dtype)
            linear = OneDnnLinear if OneDnnLinear.computes(part) else TorchLinear
            product = linear(part, None).forward(x).float().mul_(self._scale[at : at + step])
            if self._bias is not None:
                product += self._bias[at : at + step]
            y[:, at : at + step] = product
        return y
