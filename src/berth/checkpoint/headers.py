"""The header of a safetensors file: every tensor's dtype, shape and bytes, without its values.

The file begins with the header's length (eight bytes, little-endian) and the header itself, a
JSON object; reading those few kilobytes by range is enough to size a model that is not here.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TypeGuard

from berth.checkpoint.errors import CheckpointError

LENGTH_BYTES = 8
# The format's own limit; a larger number is no safetensors file.
MOST_HEADER_BYTES = 100_000_000

_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16,
    "I16": 16, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip


class HeaderError(CheckpointError):
    """Not the beginning of a safetensors file; the message says why."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file."""

    name: str
    dtype: str  # safetensors' name: "BF16", "F8_E4M3", "I32"
    shape: tuple[int, ...]
    bytes: int


def header_length(start: bytes) -> int:
    """Bytes of the header, from the first eight of the file. Raises HeaderError."""
    if len(start) < LENGTH_BYTES:
        raise HeaderError(f"a safetensors file has at least 8 bytes, this one has {len(start)}")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if not 2 <= length <= MOST_HEADER_BYTES:
        raise HeaderError(f"a header of {length} bytes is not possible in a safetensors file")
    return length


def parse_header(header: bytes) -> list[StoredTensor]:
    """The tensors that a header lists. Raises HeaderError where it contradicts itself."""
    try:
        content = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"the header is not JSON: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise HeaderError("the header is not a JSON object")
    return [_tensor(name, entry) for name, entry in content.items() if name != "__metadata__"]


def _tensor(name: str, entry: object) -> StoredTensor:
    if not isinstance(entry, dict):
        raise HeaderError(f"the entry of {name!r} is not an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not (isinstance(dtype, str) and _whole(shape) and _whole(offsets) and len(offsets) == 2):
        raise HeaderError(f"{name!r} should have dtype, shape and data_offsets")
    size = offsets[1] - offsets[0]
    if dtype in _BITS and size * 8 != math.prod(shape) * _BITS[dtype]:
        raise HeaderError(f"{name!r} of {dtype} {shape} cannot have {size} bytes")
    return StoredTensor(name, dtype, tuple(shape), size)


def _whole(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(isinstance(n, int) and n >= 0 for n in value)
