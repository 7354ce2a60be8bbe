"""Where a truncated .pth breaks off: which tensor is the first whose bytes are not all there.

torch.save writes a zip archive whose directory stands at the end, so a truncated file cannot be
opened at all. But each record has a header of its own, and the first one is the pickle that says
which tensor lies in which record. It is walked here opcode by opcode; nothing is executed.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LOCAL = b"PK\x03\x04"
_DIRECTORY_END = b"PK\x05\x06"
_DIRECTORY_END_BYTES = 22
_HEADER_BYTES = 30
_GAP_BYTES = 4096  # between a record's end and the next header: CRC and sizes, small records
_PICKLE_BYTES = 1 << 24  # more than the description of any model's tensors takes
_ITEM_BYTES = {
    "Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Short": 2,
    "Char": 1, "Byte": 1, "Bool": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Torn:
    """The first tensor that is not whole, None if the pickle itself is not; and a sentence."""

    tensor: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str  # the record's name is "<archive>/data/<key>"
    nbytes: int
    tensor: str


def first_torn(path: Path) -> Torn | None:
    """The first incomplete tensor of `path`; None if the archive's directory is whole."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        size = len(data)
        directory_end = data.rfind(_DIRECTORY_END, max(0, size - (1 << 16)))
        if 0 <= directory_end <= size - _DIRECTORY_END_BYTES:
            return None
        reason = f"the file is truncated, at {size} bytes: its zip directory is lost"
        start = _data_start(data, 0)
        if start is None or not _record_name(data, 0).endswith("/data.pkl"):
            return Torn(None, reason)
        end = data.find(_LOCAL, start)
        storages = _storages(data[start : end if end >= 0 else start + _PICKLE_BYTES])
        for storage in storages:
            header = _weight_header(data, end) if end >= 0 else None
            begin = _data_start(data, header) if header is not None else None
            if begin is None or begin + storage.nbytes > size:
                return Torn(storage.tensor, reason)
            end = begin + storage.nbytes
        return Torn(storages[-1].tensor if storages else None, reason)


def tensor_of_record(path: Path, record: str) -> str | None:
    """Which tensor lies in a record ("data/12"), by the pickle; None if it does not say."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = _data_start(data, 0)
        if start is None or not _record_name(data, 0).endswith("/data.pkl"):
            return None
        end = data.find(_LOCAL, start)
        storages = _storages(data[start : end if end >= 0 else start + _PICKLE_BYTES])
    return next((s.tensor for s in storages if f"data/{s.key}" == record), None)


def _weight_header(data: mmap.mmap, end: int) -> int | None:
    """Offset of the next tensor's record header after a record's end."""
    while (header := data.find(_LOCAL, end, end + _GAP_BYTES)) >= 0:
        if re.search(r"/data/\d+$", _record_name(data, header)):
            return header
        end = header + _HEADER_BYTES  # byteorder and the like
    return None


def _record_name(data: mmap.mmap, header: int) -> str:
    if header + _HEADER_BYTES > len(data):
        return ""
    (length,) = struct.unpack_from("<H", data, header + 26)
    return data[header + _HEADER_BYTES : header + _HEADER_BYTES + length].decode("utf-8", "replace")


def _data_start(data: mmap.mmap, header: int) -> int | None:
    """Where a record's bytes begin; None if the file ends before that."""
    if header + _HEADER_BYTES > len(data):
        return None
    name, extra = struct.unpack_from("<HH", data, header + 26)
    start: int = header + _HEADER_BYTES + name + extra
    return start if start <= len(data) else None


def _storages(pickled: bytes) -> list[_Storage]:
    """The storages that a pickle refers to, in the order of their records.

    Only what torch.save writes is understood (protocol 2, storages as persistent ids); a pickle
    that is cut short yields what came before the cut.
    """
    atoms: list[Any] = []  # strings, numbers and names of classes, as they are pushed
    memo: dict[Any, Any] = {}
    found: dict[str, _Storage] = {}
    tensor = ""
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            match opcode.name:
                case "BINPERSID" if len(atoms) >= 5 and atoms[-5] == "storage":
                    _, kind, key, _, count = atoms[-5:]
                    if isinstance(count, int) and str(key).isdecimal():
                        nbytes = count * _ITEM_BYTES.get(_scalar(kind), 0)
                        found.setdefault(key, _Storage(key, nbytes, tensor))
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = atoms[-1] if atoms else None
                case "BINGET" | "LONG_BINGET":
                    atoms.append(memo.get(argument))
                case "BINUNICODE":
                    # "a.b.weight" is a tensor's name; "storage", "0" and "cpu" are not.
                    tensor = str(argument) if "." in str(argument) else tensor
                    atoms.append(argument)
                case "GLOBAL" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                    atoms.append(argument)
    except (ValueError, struct.error):
        pass  # the file ends within the pickle: what was found so far is the answer
    return sorted(found.values(), key=lambda storage: int(storage.key))


def _scalar(kind: Any) -> str:
    return str(kind).removeprefix("torch ").removesuffix("Storage")
