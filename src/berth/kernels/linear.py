"""x @ weight.T + bias with a floating-point weight: torch's, oneDNN's, and ours for few rows.

On CPU the product is oneDNN's, on a weight that is packed once into its own layout (0.8 of the
memory's bandwidth, and a plain product 0.6), or linear.c's, on the same packed weight, if
there are few rows and AMX (0.95). models/linear.py chooses, once, when a weight is filled.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from ctypes import c_int, c_int64, c_void_p
from typing import Any

import torch
import torch.nn.functional as F

from berth.kernels.library import library

STEP = 32  # k has to be a multiple of it
# Above so many rows arithmetic counts, not memory, and oneDNN blocks for the caches.
MOST_ROWS = 96


class Linear(ABC):
    """One weight, ready for products: y = x @ weight.T + bias."""

    @abstractmethod
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [rows, in]. Returns [rows, out], in x's dtype. A row gives the same bits whatever is
        beside it, unless a subclass says otherwise.
        """


class TorchLinear(Linear):
    """torch's own product: on GPUs, and on CPU in dtypes that oneDNN does not have.

    On CPU the bits of a row depend on how many others are beside it.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = weight
        self._bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight, self._bias)


class OneDnnLinear(Linear):
    """oneDNN's product, of a weight in its own layout or of a plain one."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """`weight`: [out, in], or what `pack` made of it."""
        self._weight = weight
        self._bias = bias

    @staticmethod
    def computes(weight: torch.Tensor) -> bool:
        """Whether oneDNN has this product."""
        has = torch._C._has_mkldnn and weight.device.type == "cpu"
        return has and weight.dtype in (torch.float32, torch.bfloat16)

    @staticmethod
    def pack(weight: torch.Tensor) -> torch.Tensor:
        """A copy in oneDNN's layout."""
        packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        return packed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.shape[0]
        size = padded_rows(rows)
        if size == rows:
            return self._multiply(x)
        padded = x.new_empty(size, x.shape[1])
        padded[:rows] = x
        padded[rows:] = 0
        return self._multiply(padded)[:rows]

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
            x, self._weight, self._bias, "none", [], ""
        )
        return y


class FewRowsLinear(OneDnnLinear):
    """linear.c for few rows, and oneDNN on the same packed weight for more."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, few_rows: FewRows) -> None:
        """`weight`: packed, of which `few_rows` is."""
        super().__init__(weight, bias)
        self._few_rows = few_rows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] <= MOST_ROWS and x.is_contiguous():
            return self._few_rows(x, self._bias)
        return super().forward(x)


def padded_rows(rows: int) -> int:
    """The row count that a oneDNN product of `rows` rows is computed with: never less.

    oneDNN compiles and keeps a primitive of 0.2 to 0.5 MB for each weight's shape and each row
    count, and those of steps that prefill are all numbers up to --max-batch-tokens. Of these
    there are 29 up to 1,024: 2, every fourth up to 32 and four to a doubling beyond, so that at
    most a fifth of the rows is padding once there are 16. No row is computed alone: oneDNN sums a
    lone row in another order than several, and a request is to have the same bits alone and among
    others.
    """
    if rows <= 2:
        return 2
    step = max(4, 1 << max(0, (rows - 1).bit_length() - 3))
    return -(-rows // step) * step


@functools.cache
def _functions() -> tuple[Any, Any] | None:
    """(linear, linear_layout) of the compiled library; None if this CPU has no AMX."""
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
        """For `packed`, oneDNN's own tensor made of `weight` [n, k]. None if this CPU, the shape
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
