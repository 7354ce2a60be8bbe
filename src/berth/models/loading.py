"""Taking one rank's part out of a folder of weights, a tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from berth.limits.memory import give_back
from berth.models.parallel import ColumnLinear, Group, RowLinear, divide
from berth.models.weights.names import tensor_shapes
from berth.models.weights.source import WeightSource

_LARGE = 16 * 2**20  # bytes of a matrix


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a layer's weight and bias; `layer` is their name without ".weight"."""

    layer: str
    start: int
    count: int


class Loader:
    """Copies this rank's part of each tensor, as one dtype, and counts the bytes."""

    def __init__(
        self,
        source: WeightSource,
        group: Group,
        dtype: torch.dtype,
        loaded: Callable[[int], None],
    ) -> None:
        """`loaded` is called with the bytes just taken, after each copy."""
        self.group = group
        self.dtype = dtype
        self.bytes = 0
        self._source = source
        self._loaded = loaded
        self._shapes = tensor_shapes(source.config)

    def whole(self, name: str) -> torch.Tensor:
        """All of a tensor."""
        result = self._empty(*self._shapes[name])
        self._copy(name, result, dim=0, start=0, length=None)
        return result

    def share(self, layer: str) -> Rows:
        """This rank's rows of a layer whose rows are divided evenly."""
        count = divide(self._shapes[f"{layer}.weight"][0], self.group.degree)
        return Rows(layer, self.group.rank * count, count)

    def rows(self, parts: Sequence[Rows], kind: str = "weight") -> torch.Tensor:
        """Rows of one tensor or several of one width, one below the other. `kind`: or "bias"."""
        width = self._shapes[f"{parts[0].layer}.{kind}"][1:]
        result = self._empty(sum(part.count for part in parts), *width)
        at = 0
        for part in parts:
            into = result[at : at + part.count]
            self._copy(f"{part.layer}.{kind}", into, dim=0, start=part.start, length=part.count)
            at += part.count
        return result

    def fill_columns(self, linear: ColumnLinear, parts: Sequence[Rows], bias: bool) -> None:
        """A layer made of these rows."""
        linear.fill(self.rows(parts), self.rows(parts, "bias") if bias else None)

    def fill_row(self, linear: RowLinear, layer: str, bias: bool) -> None:
        """A layer that has this rank's columns of the weight, and the whole bias."""
        weight = self._empty(*linear.shape)
        width = linear.input_size_per_partition
        start = self.group.rank * width
        self._copy(f"{layer}.weight", weight, dim=1, start=start, length=width)
        linear.fill(weight, self.whole(f"{layer}.bias") if bias else None)

    def _empty(self, *shape: int) -> torch.Tensor:
        # The matrices of a layer, each freed once it is packed, leave holes that the next large one
        # does not fit into: without this the peak of loading was 100 MB above what is in use.
        if math.prod(shape) * self.dtype.itemsize >= _LARGE and self.group.device.type == "cpu":
            give_back()
        return torch.empty(shape, dtype=self.dtype, device=self.group.device)

    def _copy(
        self, name: str, into: torch.Tensor, *, dim: int, start: int, length: int | None
    ) -> None:
        into.copy_(self._source.read(name, dim=dim, start=start, length=length))
        self._source.release(name)
        self.bytes += into.nbytes
        self._loaded(into.nbytes)
