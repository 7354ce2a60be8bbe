"""Weights that are stored as floating-point numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from berth.checkpoint.weight_format import PLAIN
from berth.models.formats.base import Packed, Reader, Rows, WeightFormat


class PlainWeight(Packed):
    """A matrix [out, in]."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def scale_rows(self, count: int, factor: float) -> None:
        self.weight[:count] *= factor

    def reorder_rows(self, order: torch.Tensor) -> None:
        self.weight[: len(order)] = self.weight[order.to(self.weight.device)]


class Plain(WeightFormat):
    """One tensor, `weight`, in float32, float16 or bfloat16."""

    stored = PLAIN

    def rows(self, reader: Reader, parts: Sequence[Rows]) -> PlainWeight:
        width = reader.shape(f"{parts[0].layer}.weight")[1]
        weight = reader.empty((sum(part.count for part in parts), width))
        at = 0
        for part in parts:
            into = weight[at : at + part.count]
            reader.copy(f"{part.layer}.weight", into, start=part.start, length=part.count)
            at += part.count
        return PlainWeight(weight)

    def columns(self, reader: Reader, layer: str, start: int, count: int) -> PlainWeight:
        weight = reader.empty((reader.shape(f"{layer}.weight")[0], count))
        reader.copy(f"{layer}.weight", weight, dim=1, start=start, length=count)
        return PlainWeight(weight)
