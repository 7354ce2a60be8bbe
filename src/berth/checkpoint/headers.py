"""The header of a safetensors file: every tensor's dtype, shape and place, without its values.

The file begins with the header's length (eight bytes, little-endian) and the header itself, a JSON
object of dtype, shape and data_offsets by tensor name; then come the tensors, one after another.
Source: huggingface/safetensors, README, "Format". All that needs such a header has it parsed here:
of a folder's files (header_file.py), of a hub's by range, of those that the engine maps. Pure.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TypeGuard

from berth.checkpoint.errors import CheckpointError

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000  # the format's own limit

_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16,
    "I16": 16, "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip


class HeaderError(CheckpointError):
    """Not a whole safetensors file. `tensor` is empty if the fault is not one tensor's; `reason`
    goes on after the file's name."""

    def __init__(self, reason: str, tensor: str = "") -> None:
        self.tensor = tensor
        self.reason = reason
        super().__init__(f"{tensor}: {reason}" if tensor else reason)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file."""

    name: str
    dtype: str  # safetensors' name: "BF16", "F8_E4M3", "I32"
    shape: tuple[int, ...]
    begin: int  # in bytes, from the first tensor's first byte
    end: int

    @property
    def bytes(self) -> int:
        return self.end - self.begin


# A file as it was: device, inode, size, and when it was written and changed, in nanoseconds.
Version = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says."""

    start: int  # of the first tensor's first byte, from the file's beginning
    size: int  # of the file
    tensors: tuple[StoredTensor, ...]  # as they lie in the file
    version: Version | None  # of the file that was read; None: it may change unseen

    def require_whole(self) -> None:
        """Raise HeaderError unless the tensors lie one after another and fill the file.

        A header whose length or offsets are damaged would else move them all by some bytes.
        """
        for tensor in self.tensors:
            if (end := self.start + tensor.end) > self.size:
                raise HeaderError(
                    f"the file is truncated: it has {self.size} bytes, and this tensor's end at "
                    f"{end}",
                    tensor.name,
                )
        end, name = self.start, ""
        for tensor in self.tensors:
            name = tensor.name
            if (begin := self.start + tensor.begin) != end:
                raise HeaderError(
                    f"it begins at byte {begin}, and what precedes it ends at {end}: the header "
                    "is damaged",
                    name,
                )
            end += tensor.bytes
        if end != self.size:
            raise HeaderError(
                f"the file goes on for {self.size - end} bytes behind it: it is damaged", name
            )


def header_length(start: bytes) -> int:
    """Bytes of the header, from the first eight of the file. Raises HeaderError."""
    if len(start) < LENGTH_BYTES:
        raise HeaderError(f"a safetensors file has at least 8 bytes, this one has {len(start)}")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if not 2 <= length <= MOST_HEADER_BYTES:
        raise HeaderError(
            f"it does not begin with a safetensors header: one of {length} bytes is not possible"
        )
    return length


def parse_header(header: bytes) -> list[StoredTensor]:
    """The tensors that a header lists. Raises HeaderError if it contradicts itself."""
    try:
        content = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise HeaderError(
            f"its safetensors header is not a JSON object ({type(error).__name__})"
        ) from error
    if not isinstance(content, dict):
        raise HeaderError("its safetensors header is not a JSON object")
    return [_tensor(name, entry) for name, entry in content.items() if name != "__metadata__"]


def _tensor(name: str, entry: object) -> StoredTensor:
    if not isinstance(entry, dict):
        raise HeaderError("its entry in the header is malformed: it is not an object", name)
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not (
        isinstance(dtype, str)
        and _whole(shape)
        and _whole(offsets)
        and len(offsets) == 2
        and offsets[0] <= offsets[1]
    ):
        raise HeaderError(
            "its entry in the header is malformed: it should have dtype, shape and data_offsets",
            name,
        )
    size = offsets[1] - offsets[0]
    bits = math.prod(shape) * _BITS.get(dtype, 0)
    if dtype in _BITS and size * 8 != bits:
        takes = bits // 8 if bits % 8 == 0 else bits / 8
        raise HeaderError(
            f"the header gives it {size} bytes, but {dtype} {shape} takes {takes}", name
        )
    return StoredTensor(name, dtype, tuple(shape), offsets[0], offsets[1])


def _whole(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
