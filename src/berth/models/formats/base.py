"""What the loader and a model's module ask of a weight's format, whatever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from berth.checkpoint.weight_format import StoredFormat
from berth.models.weights.source import WeightError


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a layer's weight and bias; `layer` is their name without ".weight"."""

    layer: str
    start: int
    count: int


class Packed(ABC):
    """One rank's weight of a linear layer, in its format, before it is made ready for products."""

    @abstractmethod
    def scale_rows(self, count: int, factor: float) -> None:
        """Multiply the first `count` rows, in place."""

    @abstractmethod
    def reorder_rows(self, order: torch.Tensor) -> None:
        """Put the first rows in another order: row i becomes what row order[i] was."""


class Reader(Protocol):
    """What a format takes tensors with: the loader."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The full shape of a tensor of the files."""
        ...

    def empty(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> torch.Tensor:
        """Where a part of the weights goes, on the rank's device.

        Args:
            dtype: None: that of activations.
        """
        ...

    def copy(
        self, name: str, into: torch.Tensor, *, dim: int = 0, start: int = 0, length: int | None
    ) -> None:
        """Copy a part of a tensor, converted to `into`'s dtype, and count the bytes.

        Args:
            dim, start, length: the part, as `torch.narrow` has it; None: to the end.
        """
        ...

    def read(self, name: str, *, start: int = 0, length: int | None = None) -> torch.Tensor:
        """Rows of a tensor as they are stored: a view, for a format that converts by itself."""
        ...

    def done(self, name: str, taken: torch.Tensor) -> None:
        """Let go of what `read` gave, and count `taken`, which was made of it."""
        ...

    def refuse(self, name: str, why: str) -> WeightError:
        """The error to raise about a tensor's content."""
        ...


class WeightFormat(ABC):
    """How the weight of a linear layer lies in the files, is shared by ranks, and is kept."""

    stored: StoredFormat  # its name, its tensors, its bytes

    @abstractmethod
    def rows(self, reader: Reader, parts: Sequence[Rows]) -> Packed:
        """A weight made of these rows, one part below the other; all layers are of this format."""

    @abstractmethod
    def columns(self, reader: Reader, layer: str, start: int, count: int) -> Packed:
        """All rows of a layer, and these of its columns (inputs).

        Raises:
            WeightError: the format cannot be cut there.
        """
