"""Weights of 8 bits with a scale for each output: compressed-tensors' two ways to store them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch

from berth.checkpoint.weight_format import INT8, INT8_WORDS, StoredFormat
from berth.models.formats.base import Packed, Reader, Rows, WeightFormat

_SIGN = 0x80  # what pack-quantized adds to each byte


class Int8Weight(Packed):
    """A matrix int8 [out, in], and float32 [out] that its rows are to be multiplied by."""

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        self.weight = weight
        self.scale = scale

    def scale_rows(self, count: int, factor: float) -> None:
        self.scale[:count] *= factor

    def reorder_rows(self, order: torch.Tensor) -> None:
        for part in (self.weight, self.scale):
            part[: len(order)] = part[order.to(part.device)]


class _Int8(WeightFormat):
    """What both ways have in common: `weight_scale` [out, 1]."""

    def rows(self, reader: Reader, parts: Sequence[Rows]) -> Int8Weight:
        width = reader.shape(f"{parts[0].layer}.weight")[1]
        count = sum(part.count for part in parts)
        weight = reader.empty((count, width), torch.int8)
        scale = reader.empty((count, 1), torch.float32)
        at = 0
        for part in parts:
            here = slice(at, at + part.count)
            self._copy(reader, part.layer, weight[here], part.start, 0)
            self._copy_scale(reader, part.layer, scale[here], part.start)
            at += part.count
        return Int8Weight(weight, scale.squeeze(1))

    def columns(self, reader: Reader, layer: str, start: int, count: int) -> Int8Weight:
        out, _ = reader.shape(f"{layer}.weight")
        weight = reader.empty((out, count), torch.int8)
        scale = reader.empty((out, 1), torch.float32)
        self._copy(reader, layer, weight, 0, start)
        self._copy_scale(reader, layer, scale, 0)
        return Int8Weight(weight, scale.squeeze(1))

    @abstractmethod
    def _copy(self, reader: Reader, layer: str, into: torch.Tensor, row: int, column: int) -> None:
        """Fill `into` [rows, columns] with the layer's integers from `row` and `column` on."""

    def _copy_scale(self, reader: Reader, layer: str, into: torch.Tensor, row: int) -> None:
        name = f"{layer}.weight_scale"
        reader.copy(name, into, start=row, length=len(into))
        if not bool((torch.isfinite(into) & (into >= 0)).all()):
            raise reader.refuse(name, "a scale in it is negative or not a number")


class Int8(_Int8):
    """int-quantized: `weight` int8 [out, in]."""

    stored: StoredFormat = INT8

    def _copy(self, reader: Reader, layer: str, into: torch.Tensor, row: int, column: int) -> None:
        rows, columns = into.shape
        name = f"{layer}.weight"
        if column == 0 and columns == reader.shape(name)[1]:
            reader.copy(name, into, start=row, length=rows)
        else:
            reader.copy(name, into, dim=1, start=column, length=columns)


class Int8Words(_Int8):
    """pack-quantized: `weight_packed` int32 [out, in / 4], in each word four integers plus 128, the
    first in the lowest byte; `weight_shape`, the two numbers out and in.
    """

    stored: StoredFormat = INT8_WORDS

    def _copy(self, reader: Reader, layer: str, into: torch.Tensor, row: int, column: int) -> None:
        self._check_shape(reader, layer)
        rows, columns = into.shape
        first, last = column // 4, -(-(column + columns) // 4)
        words = reader.read(f"{layer}.weight_packed", start=row, length=rows)[:, first:last]
        unsigned = words.contiguous().view(torch.uint8)[:, column - 4 * first :][:, :columns]
        into.copy_((unsigned ^ _SIGN).view(torch.int8))
        reader.done(f"{layer}.weight_packed", into)

    def _check_shape(self, reader: Reader, layer: str) -> None:
        name = f"{layer}.weight_shape"
        said = tuple(int(size) for size in reader.read(name))
        if said != reader.shape(f"{layer}.weight"):
            raise reader.refuse(
                name, f"it says {said}, but config.json asks for {reader.shape(f'{layer}.weight')}"
            )
