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


class _Int8(StoredFormat):
    """compressed-tensors' int-quantized: integers and, for each output, what they are multiplied
    by (compressors/naive_quantized/base.py there)."""

    name = "int8"

    def tensors(self, out: int, width: int) -> Mapping[str, StoredTensor]:
        return {
            "weight": StoredTensor((out, width), frozenset({"int8"})),
            "weight_scale": StoredTensor((out, 1)),
        }


class _Int8Words(StoredFormat):
    """compressed-tensors' pack-quantized of 8 bits: four integers in an int32
    (compressors/pack_quantized there)."""

    name = "int8-words"

    def tensors(self, out: int, width: int) -> Mapping[str, StoredTensor]:
        return {
            "weight_packed": StoredTensor((out, -(-width // 4)), frozenset({"int32"})),
            "weight_scale": StoredTensor((out, 1)),
            "weight_shape": StoredTensor((2,), frozenset({"int64", "int32"})),
        }


PLAIN, INT8, INT8_WORDS = _Plain(), _Int8(), _Int8Words()
FORMATS: Mapping[str, StoredFormat] = {each.name: each for each in (PLAIN, INT8, INT8_WORDS)}
