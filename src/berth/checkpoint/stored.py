"""What the headers of a folder's safetensors files say of its weights. No torch."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from berth.checkpoint.header_file import read_header
from berth.checkpoint.headers import HeaderError, Version
from berth.checkpoint.index import stored_files

FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# safetensors' names of what Berth reads, and torch's.
TORCH_NAMES = {**FLOATS, "I8": "int8", "I32": "int32", "I64": "int64"}
_SLICE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor: where its bytes are."""

    file: Path
    dtype: str  # as the format calls it: F32, BF16
    shape: tuple[int, ...]
    start: int  # from the file's beginning
    end: int
    version: Version | None = None  # of the file; None: it may change unseen


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a Hugging Face folder's files. A file that is no safetensors gives none.

    A torn file or a missing tensor is reported when the weights are read.
    """
    found: dict[str, Stored] = {}
    for name in stored_files(folder):
        found |= _of_file(folder / name)
    return found


def stored_dtype(tensors: Mapping[str, Stored]) -> str | None:
    """The number format that most of the bytes have; None if no tensor is plain floats."""
    return most_bytes((one.dtype, one.end - one.start) for one in tensors.values())


def most_bytes(tensors: Iterable[tuple[str, int]]) -> str | None:
    """As `stored_dtype`, of tensors by safetensors' name of their dtype and their bytes."""
    sizes: Counter[str] = Counter()
    for dtype, size in tensors:
        if dtype in FLOATS:
            sizes[FLOATS[dtype]] += size
    return sizes.most_common(1)[0][0] if sizes else None


def are_equal(one: Stored, other: Stored) -> bool:
    """Whether two tensors hold the same bytes. Read once, as long as their files do not change."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if (one.file, one.start) == (other.file, other.start):
        return True
    settled = one.version is not None and other.version is not None
    if settled and (one, other) in _EQUAL:
        return _EQUAL[one, other]
    equal = _same_bytes(one, other)
    if settled:
        _EQUAL[one, other] = equal
    return equal


_EQUAL: dict[tuple[Stored, Stored], bool] = {}  # two of a folder: they may be gigabytes to read


def _same_bytes(one: Stored, other: Stored) -> bool:
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
        header = read_header(path)
    except (OSError, HeaderError):  # reported when the weights are read
        return {}
    return {
        tensor.name: Stored(
            path,
            tensor.dtype,
            tensor.shape,
            header.start + tensor.begin,
            header.start + tensor.end,
            header.version,
        )
        for tensor in header.tensors
    }
