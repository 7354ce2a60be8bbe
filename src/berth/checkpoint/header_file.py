"""Reading the header of a safetensors file on this machine, once. Imports no torch."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from pathlib import Path

from berth.checkpoint.headers import (
    LENGTH_BYTES,
    Header,
    HeaderError,
    Version,
    header_length,
    parse_header,
)

_KEPT: OrderedDict[tuple[Path, Version], Header] = OrderedDict()
_MOST_KEPT = 1024  # files
_SETTLED = 2_000_000_000  # ns; a file system's clock may stand still for some milliseconds


def read_header(path: Path) -> Header:
    """The header of a file, which may lack tensors' bytes (`Header.require_whole`).

    A header that was read stays in memory until `forget_headers`, and counts as long as the file
    does not change: the folder of a model is asked for by its description, its engine and its
    refusal in turn.

    Raises:
        HeaderError: it is no header, or contradicts itself.
        OSError: the file cannot be read.
    """
    version = version_of(path)
    if version is not None and (known := _KEPT.get((path, version))) is not None:
        return known
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(LENGTH_BYTES)
        length = header_length(first) if len(first) == LENGTH_BYTES else 0
        if size < LENGTH_BYTES + length:
            raise HeaderError(f"the file is truncated within its header, at {size} bytes")
        tensors = sorted(parse_header(file.read(length)), key=lambda one: (one.begin, one.end))
    header = Header(LENGTH_BYTES + length, size, tuple(tensors), version)
    if version is not None:
        _KEPT[path, version] = header
        while len(_KEPT) > _MOST_KEPT:
            _KEPT.popitem(last=False)
    return header


def forget_headers() -> None:
    """Give the memory of all headers back: what was asked for is known."""
    _KEPT.clear()


def version_of(path: Path) -> Version | None:
    """What tells a file from another one under its name. Raises OSError.

    None if it was written just now: a second writing could leave the same times.
    """
    found = path.stat()
    if time.time_ns() - max(found.st_mtime_ns, 0) < _SETTLED:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
