"""Taking one rank's part out of a folder of weights, a tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from berth.limits.memory import give_back
from berth.models.formats import Packed, Rows, WeightFormat, format_named
from berth.models.linear import choose_linear
from berth.models.parallel import ColumnLinear, Group, RowLinear, divide
from berth.models.weights.names import format_of, tensor_shapes
from berth.models.weights.source import WeightError, WeightSource

__all__ = ["Loader", "Rows"]

_LARGE = 16 * 2**20  # bytes of a matrix


class Loader:
    """Copies this rank's part of each tensor, and counts the bytes.

    A linear layer's weight is taken as its format says; everything else as floats of one dtype.
    """

    def __init__(
        self,
        source: WeightSource,
        group: Group,
        dtype: torch.dtype,
        loaded: Callable[[int], None],
    ) -> None:
        """
        Args:
            dtype: of what is stored as floats, and of activations.
            loaded: called with the bytes just taken, after each copy.
        """
        self.group = group
        self.dtype = dtype
        self.bytes = 0
        self._source = source
        self._loaded = loaded
        self._shapes = tensor_shapes(source.config)

    def shape(self, name: str) -> tuple[int, ...]:
        """The full shape of a tensor."""
        return self._shapes[name]

    def whole(self, name: str) -> torch.Tensor:
        """All of a tensor."""
        result = self.empty(self._shapes[name])
        self.copy(name, result, length=None)
        return result

    def share(self, layer: str) -> Rows:
        """This rank's rows of a layer whose rows are divided evenly."""
        count = divide(self._shapes[f"{layer}.weight"][0], self.group.degree)
        return Rows(layer, self.group.rank * count, count)

    def rows(self, parts: Sequence[Rows], kind: str = "weight") -> torch.Tensor:
        """Rows of one tensor of floats or several of one width, one below the other.

        Args:
            kind: or "bias".
        """
        width = self._shapes[f"{parts[0].layer}.{kind}"][1:]
        result = self.empty((sum(part.count for part in parts), *width))
        at = 0
        for part in parts:
            into = result[at : at + part.count]
            self.copy(f"{part.layer}.{kind}", into, start=part.start, length=part.count)
            at += part.count
        return result

    def packed_rows(self, parts: Sequence[Rows]) -> Packed:
        """The weight that these rows are, in the layers' own format."""
        return self._format(parts[0].layer).rows(self, parts)

    def fill_columns(self, linear: ColumnLinear, parts: Sequence[Rows], bias: bool) -> None:
        """A layer made of these rows."""
        packed = self.packed_rows(parts)
        linear.fill(choose_linear(packed, self.rows(parts, "bias") if bias else None))

    def fill_row(self, linear: RowLinear, layer: str, bias: bool) -> None:
        """A layer that has this rank's columns of the weight, and the whole bias."""
        width = linear.input_size_per_partition
        packed = self._format(layer).columns(self, layer, self.group.rank * width, width)
        linear.fill(choose_linear(packed), self.whole(f"{layer}.bias") if bias else None)

    def empty(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> torch.Tensor:
        """Where a part of the weights goes. `dtype`: if not of floats."""
        dtype = dtype or self.dtype
        # The matrices of a layer, each freed once it is packed, leave holes that the next large one
        # does not fit into: without this the peak of loading was 100 MB above what is in use.
        if math.prod(shape) * dtype.itemsize >= _LARGE and self.group.device.type == "cpu":
            give_back()
        return torch.empty(tuple(shape), dtype=dtype, device=self.group.device)

    def copy(
        self, name: str, into: torch.Tensor, *, dim: int = 0, start: int = 0, length: int | None
    ) -> None:
        """Copy a part of a tensor, converted to `into`'s dtype, and count the bytes."""
        into.copy_(self._source.read(name, dim=dim, start=start, length=length))
        self.done(name, into)

    def read(self, name: str, *, start: int = 0, length: int | None = None) -> torch.Tensor:
        """Rows of a tensor as they are stored."""
        return self._source.read(name, start=start, length=length)

    def done(self, name: str, taken: torch.Tensor) -> None:
        """Let go of what `read` gave, and count `taken`, which was made of it."""
        self._source.release(name)
        self.bytes += taken.nbytes
        self._loaded(taken.nbytes)

    def refuse(self, name: str, why: str) -> WeightError:
        """The error to raise about a tensor's content."""
        return self._source.refuse(name, why)

    def _format(self, layer: str) -> WeightFormat:
        name = f"{layer}.weight"
        return format_named(format_of(self._source.config, name, self._shapes[name]))
