"""How many bytes the published files of a model take, by its numbers. Pure."""

from __future__ import annotations

from berth.checkpoint.numbers import ModelNumbers, tensors
from berth.fit.quantization import scheme_of_checkpoint, tensor_bytes
from berth.fit.units import ELEMENT_BYTES, GIB


def published_bytes(numbers: ModelNumbers) -> int | None:
    """Bytes of every tensor as the checkpoint stores it: packed ones with their scales.

    None if `numbers` lack a part, or the way of packing is not known.
    """
    scheme = scheme_of_checkpoint(numbers.quantization)
    if numbers.missing or (numbers.quantization and scheme is None):
        return None
    element = ELEMENT_BYTES[numbers.dtype or "bfloat16"]
    return sum(
        tensor_bytes(tensor.shape, tensor.dtype, element, scheme) for tensor in tensors(numbers)
    )


def measured_bytes(numbers: ModelNumbers, files_gib: float | None) -> int | None:
    """The size of a preset's files that fit needs; None if the preset's numbers suffice.

    Args:
        files_gib: of the published files, if they were measured. They may hold what no engine
            loads (layers for multi-token prediction), so they count only if nothing else does.
    """
    if files_gib is None or published_bytes(numbers) is not None:
        return None
    return int(files_gib * GIB)
