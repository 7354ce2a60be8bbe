"""One of Meta's consolidated.NN.pth, mapped, its pickle read by torch's restricted unpickler."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from berth.models.weights.files import Entry, drop_pages
from berth.models.weights.pth_torn import first_torn
from berth.models.weights.source import WeightError

_ZIP = b"PK\x03\x04"


class PthFile:
    """An open .pth file.

    Raises:
        WeightError: the file is truncated, is no zip archive of tensors, or its pickle names
            anything but tensors and containers. No pickle is executed in finding that out.
    """

    def __init__(self, path: Path, expected: str = "tok_embeddings.weight") -> None:
        """Args: `expected` names a tensor that should be in it, where the file cannot say."""
        self.path = path
        self._tensors = _load(path, expected)
        self.entries: dict[str, Entry] = {
            name: Entry(tuple(t.shape), str(t.dtype).removeprefix("torch."), t.nbytes)
            for name, t in self._tensors.items()
        }

    def view(self, name: str) -> torch.Tensor:
        if not self._tensors:
            raise ValueError(f"{self.path.name} is closed")
        return self._tensors[name]

    def release(self, name: str) -> None:
        if name in self._tensors:
            drop_pages(self._tensors[name])

    def close(self) -> None:
        self._tensors = {}  # unmapped with the last view


def _load(path: Path, expected: str) -> dict[str, torch.Tensor]:
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
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise WeightError(expected, path.name, _refusal(error)) from None
    except (RuntimeError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise WeightError(expected, path.name, f"torch cannot read the file: {said}") from error
    return _tensors(state, path, expected)


def _refusal(error: pickle.UnpicklingError) -> str:
    # torch's own text suggests weights_only=False, which nobody should do; keep only the name.
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
