"""The formats of linear layers' weights, as files have them: tensors, shapes, bytes. Pure.

How the native engine takes and computes them is in models/formats/.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

FLOATS = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor that a file must have."""

    shape: tuple[int, ...]
    dtypes: frozenset[str] = FLOATS  # any of them


class StoredFormat(ABC):
    """How the weight [out, in] of a linear layer lies in the files."""

    name: ClassVar[str]

    @abstractmethod
    def tensors(self, out: int, width: int) -> Mapping[str, StoredTensor]:
        """The layer's tensors by what follows its name and a dot; its bias apart.

        Args:
            out, width: the whole weight's rows (outputs) and columns (inputs).
        """


class _Plain(StoredFormat):
    name = "plain"

    def tensors(self, out: int, width: int) -> Mapping[str, StoredTensor]:
        return {"weight": StoredTensor((out, width))}


PLAIN = _Plain()
FORMATS: Mapping[str, StoredFormat] = {each.name: each for each in (PLAIN,)}
