"""One .safetensors file, mapped. Its header is checked here before anything behind it is touched.

The format: eight bytes with the header's length, the header (a JSON object of dtype, shape and
data_offsets by tensor name), then the bytes. Read by hand rather than through the safetensors
library, because that one has no way to give pages back.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch

from berth.models.weights.files import Entry, Stored, drop_pages
from berth.models.weights.source import WeightError

MAX_HEADER = 100_000_000  # bytes; the safetensors library's own limit
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
_MAP_NORESERVE = 0x4000  # Linux; Python names it only from 3.13 on


class SafetensorsFile:
    """An open .safetensors file.

    Raises:
        WeightError: the header is no safetensors header, or promises bytes that the file does not
            have; names the first such tensor.
    """

    def __init__(self, path: Path, expected: str = "model.embed_tokens.weight") -> None:
        """Args: `expected` names a tensor that should be in it, for errors before the header."""
        self.path = path
        size = _size(path, expected)
        header, start = _header(path, size, expected)
        self._offsets: dict[str, int] = {}
        self.entries: dict[str, Entry] = {}
        for name, fields in sorted(header.items(), key=lambda item: _span(item[1])):
            entry, begin = _entry(name, fields, path)
            if start + begin + entry.nbytes > size:
                raise WeightError(
                    name,
                    path.name,
                    f"the file is truncated: it has {size} bytes, and this tensor's end at "
                    f"{start + begin + entry.nbytes}",
                )
            self.entries[name] = entry
            self._offsets[name] = start + begin
        _refuse_gaps(self._offsets, self.entries, start, size, path, expected)
        self.stored = [
            Stored(name, offset, self.entries[name].nbytes)
            for name, offset in self._offsets.items()
        ]
        with path.open("rb") as file:
            # Private and writable: torch wants a writable buffer; a write would stay in this
            # process. Not reserved: otherwise the kernel would count the file as memory promised.
            self._map: mmap.mmap | None = mmap.mmap(
                file.fileno(),
                0,
                flags=mmap.MAP_PRIVATE | _MAP_NORESERVE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
            )

    def view(self, name: str) -> torch.Tensor:
        if self._map is None:
            raise ValueError(f"{self.path.name} is closed")
        entry, offset = self.entries[name], self._offsets[name]
        dtype: torch.dtype = getattr(torch, entry.dtype)
        if not entry.nbytes:
            return torch.empty(entry.shape, dtype=dtype)
        raw = torch.frombuffer(self._map, dtype=torch.uint8, offset=offset, count=entry.nbytes)
        if offset % dtype.itemsize:
            raw = raw.clone()  # old writers did not align; a copy is
        return raw.view(dtype).view(entry.shape)

    def release(self, name: str) -> None:
        if self._map is None or not self.entries[name].nbytes:
            return
        begin, length = self._offsets[name], self.entries[name].nbytes
        drop_pages(torch.frombuffer(self._map, dtype=torch.uint8, offset=begin, count=length))

    def close(self) -> None:
        self._map = None  # unmapped with the last view


def _size(path: Path, expected: str) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise WeightError(expected, path.name, "the file is missing") from None


def _header(path: Path, size: int, expected: str) -> tuple[dict[str, Any], int]:
    """The header without its metadata, and the offset of the first tensor's bytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size >= 8 and length > MAX_HEADER:
            raise WeightError(expected, path.name, "it does not begin with a safetensors header")
        if size < 8 + length:
            raise WeightError(
                expected, path.name, f"the file is truncated within its header, at {size} bytes"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise WeightError(expected, path.name, "its safetensors header is not a JSON object")
    header.pop("__metadata__", None)
    return header, 8 + length


def _refuse_gaps(
    offsets: Mapping[str, int],
    entries: Mapping[str, Entry],
    start: int,
    size: int,
    path: Path,
    expected: str,
) -> None:
    """The tensors lie one after another and fill the file, as the format has it.

    A header whose length or offsets are damaged would else move them all by some bytes.
    """
    end, name = start, expected
    for name, offset in offsets.items():
        if offset != end:
            raise WeightError(
                name,
                path.name,
                f"it begins at byte {offset}, and what precedes it ends at {end}: the header is "
                "damaged",
            )
        end += entries[name].nbytes
    if end != size:
        raise WeightError(
            name, path.name, f"the file goes on for {size - end} bytes behind it: it is damaged"
        )


def _span(fields: Any) -> tuple[int, int]:
    """Where a tensor's bytes are, to sort by; what is malformed comes first and is refused."""
    try:
        begin, end = fields["data_offsets"]
        return int(begin), int(end)
    except (KeyError, IndexError, TypeError, ValueError):
        return -1, -1


def _entry(name: str, fields: Any, path: Path) -> tuple[Entry, int]:
    match fields:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise WeightError(name, path.name, "its entry in the header is malformed")
    if not all(isinstance(n, int) and n >= 0 for n in shape) or not 0 <= begin <= end:
        raise WeightError(name, path.name, "its entry in the header is malformed")
    item = _ITEM_BYTES.get(dtype)
    if item is not None and prod(shape) * item != end - begin:
        raise WeightError(
            name,
            path.name,
            f"the header gives it {end - begin} bytes, but {dtype} {shape} takes "
            f"{prod(shape) * item}",
        )
    return Entry(tuple(shape), _DTYPES.get(dtype, dtype), end - begin), begin
