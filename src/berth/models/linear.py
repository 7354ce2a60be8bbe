"""Which `Linear` computes a weight: chosen once, when the weight is filled."""

from __future__ import annotations

import torch

from berth.kernels.int8 import Int8Linear
from berth.kernels.linear import FewRows, FewRowsLinear, Linear, OneDnnLinear, TorchLinear
from berth.models.formats import Int8Weight, Packed, PlainWeight


def choose_linear(packed: Packed, bias: torch.Tensor | None = None, *, pack: bool = True) -> Linear:
    """The fastest product that this device has for the weight.

    Args:
        pack: whether a copy in another layout may be made. If not, a plain weight is used as it
            is, shared with its owner.
    """
    if isinstance(packed, PlainWeight):
        return _plain(packed.weight, bias, pack)
    if isinstance(packed, Int8Weight):
        return Int8Linear(packed.weight, packed.scale, bias)
    raise TypeError(f"no product for {type(packed).__name__}")


def _plain(weight: torch.Tensor, bias: torch.Tensor | None, pack: bool) -> Linear:
    if not OneDnnLinear.computes(weight):
        return TorchLinear(weight, bias)
    if not pack:
        # Packed or not, oneDNN gives a row the same bits whatever is beside it.
        return OneDnnLinear(weight, bias)
    weight = weight.contiguous()
    packed = OneDnnLinear.pack(weight)
    few_rows = FewRows.of(weight, packed)
    if few_rows is None:
        return OneDnnLinear(packed, bias)
    return FewRowsLinear(packed, bias, few_rows)
