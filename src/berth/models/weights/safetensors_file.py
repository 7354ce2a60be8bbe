"""One .safetensors file, mapped. Its header is checked before anything behind it is touched.

Read by hand (checkpoint/headers.py has the format) rather than through the safetensors library,
because that one has no way to give pages back.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import torch

from berth.checkpoint.header_file import read_header
from berth.checkpoint.headers import Header, HeaderError
from berth.checkpoint.stored import TORCH_NAMES
from berth.models.weights.files import Entry, Stored, drop_pages
from berth.models.weights.source import WeightError

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
        header = _whole_header(path, expected)
        self.entries: dict[str, Entry] = {
            one.name: Entry(one.shape, TORCH_NAMES.get(one.dtype, one.dtype), one.bytes)
            for one in header.tensors
        }
        self._offsets = {one.name: header.start + one.begin for one in header.tensors}
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


def _whole_header(path: Path, expected: str) -> Header:
    try:
        header = read_header(path)
        header.require_whole()
    except FileNotFoundError:
        raise WeightError(expected, path.name, "the file is missing") from None
    except HeaderError as error:
        raise WeightError(error.tensor or expected, path.name, error.reason) from error
    return header
