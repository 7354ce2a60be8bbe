"""One of Meta's consolidated.NN.pth, mapped, its pickle read by torch's restricted unpickler."""

from __future__ import annotations

import bisect
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from berth.models.weights.checksums import crc32_of
from berth.models.weights.files import Entry, Stored, drop_pages
from berth.models.weights.pth_torn import first_torn, tensor_of_record
from berth.models.weights.pth_zip import Damaged, Record, has_checksums, read_records
from berth.models.weights.source import WeightError

_ZIP = b"PK\x03\x04"
_PICKLE = "data.pkl"
_TENSORS = "data/"  # what the names of records with tensors begin with


class PthFile:
    """An open .pth file.

    Raises:
        WeightError: the file is truncated, is no zip archive of tensors, its directory or its
            pickle is damaged, or its pickle names anything but tensors and containers. No pickle
            is executed in finding that out.

    The CRC-32 of the tensors is not looked at here: that reads all of them. See verify.py.
    """

    def __init__(self, path: Path, expected: str = "tok_embeddings.weight") -> None:
        """Args: `expected` names a tensor that should be in it, if the file cannot say."""
        self.path = path
        self._tensors, records = _load(path, expected)
        self.entries: dict[str, Entry] = {
            name: Entry(tuple(t.shape), str(t.dtype).removeprefix("torch."), t.nbytes)
            for name, t in self._tensors.items()
        }
        self.stored = _stored(self._tensors, records, path)

    def view(self, name: str) -> torch.Tensor:
        if not self._tensors:
            raise ValueError(f"{self.path.name} is closed")
        return self._tensors[name]

    def release(self, name: str) -> None:
        if name in self._tensors:
            drop_pages(self._tensors[name])

    def close(self) -> None:
        self._tensors = {}  # unmapped with the last view


def _load(path: Path, expected: str) -> tuple[dict[str, torch.Tensor], dict[str, Record]]:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise WeightError(expected, path.name, "the file is missing") from None
    if magic != _ZIP:
        why = "it is not a zip archive as torch.save has written since torch 1.6"
        if magic[:1] == b"\x80":
            why += "; load and save it again with a current torch"
        raise WeightError(expected, path.name, why)
    if (torn := first_torn(path)) is not None:
        raise WeightError(torn.tensor or expected, path.name, torn.reason)
    records = _records(path, expected)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise WeightError(expected, path.name, _refusal(error)) from None
    except (RuntimeError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise WeightError(expected, path.name, f"torch cannot read the file: {said}") from error
    return _tensors(state, path, expected), records


def _records(path: Path, expected: str) -> dict[str, Record]:
    """The archive's records; the CRC-32 of all but the tensors is right."""
    try:
        records = read_records(path)
    except Damaged as error:
        tensor = tensor_of_record(path, error.record) if error.record is not None else None
        raise WeightError(tensor or expected, path.name, f"{error}; the file is damaged") from None
    if _PICKLE not in records:
        raise WeightError(expected, path.name, f"the archive has no {_PICKLE}")
    if not has_checksums(records):
        return records
    for name, record in records.items():
        if (
            not name.startswith(_TENSORS)
            and crc32_of(path, record.start, record.size) != record.crc
        ):
            what = "its pickle, which says where each tensor is," if name == _PICKLE else f"{name}"
            raise WeightError(
                expected, path.name, f"{what} is damaged: its CRC-32 is not the archive's"
            )
    return records


def _stored(
    tensors: dict[str, torch.Tensor], records: dict[str, Record], path: Path
) -> list[Stored]:
    """Where torch mapped each tensor, which must be within one record of the archive."""
    base = _mapped_at(path, tensors)
    if base is None:
        return []
    ordered = sorted(records.values(), key=lambda record: record.start)
    starts = [record.start for record in ordered]
    known = has_checksums(records)
    found: dict[int, Stored] = {}
    for name, tensor in tensors.items():
        begin = tensor.data_ptr() - base
        if not tensor.nbytes:
            continue
        record = ordered[max(0, bisect.bisect_right(starts, begin) - 1)]
        if not record.start <= begin <= begin + tensor.nbytes <= record.end:
            raise WeightError(name, path.name, "its bytes are not a record's; the file is damaged")
        crc = record.crc if known else None
        found.setdefault(record.start, Stored(name, record.start, record.size, crc))
    return sorted(found.values(), key=lambda stored: stored.start)


def _mapped_at(path: Path, tensors: dict[str, torch.Tensor]) -> int | None:
    """The address at which the first byte of the file is mapped; None: not known on this system."""
    pointer = next((t.data_ptr() for t in tensors.values() if t.nbytes), None)
    maps = Path("/proc/self/maps")
    if pointer is None or not maps.exists():
        return None
    for line in maps.read_text().splitlines():
        span, _, offset, *_ = line.split(maxsplit=3)
        begin, _, end = span.partition("-")
        if int(begin, 16) <= pointer < int(end, 16):
            return int(begin, 16) - int(offset, 16)
    return None


def _refusal(error: pickle.UnpicklingError) -> str:
    # torch's own text suggests weights_only=False, which is unsafe; keep only the name.
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    what = f" ({found[1]})" if found else ""
    return (
        f"its pickle asks for something other than tensors{what}; it was refused and not executed"
    )


def _tensors(state: Any, path: Path, expected: str) -> dict[str, torch.Tensor]:
    if not isinstance(state, dict):
        kind = type(state).__name__
        raise WeightError(expected, path.name, f"the file holds a {kind}, not tensors by name")
    for name, value in state.items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            kind = type(value).__name__
            raise WeightError(str(name), path.name, f"it is a {kind}, not a plain tensor")
        if not value.is_contiguous():
            raise WeightError(str(name), path.name, "it is not stored contiguously")
    return {str(name): value.detach() for name, value in state.items()}
