"""What the two layouts share: a file of named tensors, mapped into memory."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import torch

from berth.models.weights.binding import dtype_refusal


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the bytes of a tensor are in its file."""

    tensor: str
    start: int
    size: int
    crc: int | None = None  # CRC-32, if the file itself keeps one


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor as the file describes it. `dtype` is torch's name, or the file's if torch has
    none."""

    shape: tuple[int, ...]
    dtype: str
    nbytes: int


class TensorFile(Protocol):
    """One open file of tensors."""

    path: Path

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What the file holds, by name."""
        ...

    @property
    def stored(self) -> Sequence[Stored]:
        """Where the tensors' bytes are, in the file's order; those that share bytes once."""
        ...

    def view(self, name: str) -> torch.Tensor:
        """The whole tensor, mapped, not read. `name` must be in `entries` and of a good dtype."""
        ...

    def release(self, name: str) -> None:
        """Drop the tensor's resident pages; it can be viewed again."""
        ...

    def close(self) -> None: ...


def dtype_complaint(entry: Entry) -> str | None:
    """Why a tensor of this dtype is refused; None if it is not."""
    return dtype_refusal(entry.dtype)


def is_zero_bias(file: TensorFile, name: str) -> bool:
    """Whether a tensor is a bias of zeros, which changes nothing; some conversions write them."""
    if not name.endswith(".bias") or dtype_complaint(file.entries[name]) is not None:
        return False
    zero = not bool(file.view(name).any())
    file.release(name)
    return zero


def drop_pages(tensor: torch.Tensor) -> None:
    """Take the pages behind a contiguous mapped tensor out of this process's resident memory.

    Neighbours that share its first or last page are read again when they are next touched:
    nothing is lost, because the mapping is never written to.

    Raises:
        OSError: the kernel refuses.
    """
    if not tensor.nbytes or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = tensor.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    length = tensor.data_ptr() + tensor.nbytes - start
    if _madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED):
        number = ctypes.get_errno()
        raise OSError(number, f"madvise: {os.strerror(number)}")


def scratch(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """An empty tensor in pages of its own, which go back to the system with it.

    From malloc it would leave holes between the parameters that are allocated around it: measured
    as half a share more of resident memory.
    """
    nbytes = prod(shape) * dtype.itemsize
    if not nbytes:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, nbytes), dtype=dtype).view(shape)


_madvise = ctypes.CDLL(None, use_errno=True).madvise
_madvise.restype = ctypes.c_int
