"""What the headers of a folder's safetensors files say of its weights. No torch.

Source of the format: huggingface/safetensors, README, "Format": eight bytes of length, then JSON.
"""

from __future__ import annotations

import json
import mmap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.checkpoint.index import stored_files

FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LONGEST_HEADER = 100_000_000  # bytes; the library's own limit
_SLICE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor: where its bytes are."""

    file: Path
    dtype: str  # as the format calls it: F32, BF16
    shape: tuple[int, ...]
    start: int  # from the file's beginning
    end: int


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a Hugging Face folder's files. A file that is no safetensors gives none.

    Whether a file is torn, and a tensor missing, is for those to say who read the weights.
    """
    found: dict[str, Stored] = {}
    for name in stored_files(folder):
        found |= _of_file(folder / name)
    return found


def stored_dtype(tensors: Mapping[str, Stored]) -> str | None:
    """The number format that most of the bytes have; None where no tensor is plain floats."""
    return most_bytes((one.dtype, one.end - one.start) for one in tensors.values())


def most_bytes(tensors: Iterable[tuple[str, int]]) -> str | None:
    """As `stored_dtype`, of tensors by safetensors' name of their dtype and their bytes."""
    sizes: Counter[str] = Counter()
    for dtype, size in tensors:
        if dtype in FLOATS:
            sizes[FLOATS[dtype]] += size
    return sizes.most_common(1)[0][0] if sizes else None


def are_equal(one: Stored, other: Stored) -> bool:
    """Whether two tensors hold the same bytes."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if (one.file, one.start) == (other.file, other.start):
        return True
    with (
        one.file.open("rb") as a,
        other.file.open("rb") as b,
        mmap.mmap(a.fileno(), 0, access=mmap.ACCESS_READ) as first,
        mmap.mmap(b.fileno(), 0, access=mmap.ACCESS_READ) as second,
    ):
        for at in range(0, one.end - one.start, _SLICE):
            size = min(_SLICE, one.end - one.start - at)
            ours, theirs = one.start + at, other.start + at
            if first[ours : ours + size] != second[theirs : theirs + size]:
                return False
    return True


def _of_file(path: Path) -> dict[str, Stored]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST_HEADER:
                return {}
            header: Any = json.loads(file.read(length))
        return {
            name: Stored(
                path,
                str(entry["dtype"]),
                tuple(entry["shape"]),
                *(8 + length + int(offset) for offset in entry["data_offsets"]),
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
