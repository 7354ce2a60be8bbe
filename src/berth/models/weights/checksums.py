"""Checksums of files and of parts of them. Imports no torch: `berth pull` and builds use it too."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

try:
    # Six times as fast as zlib's, with the same result; a part of what the engine installs.
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

_CHUNK = 1 << 20  # bytes: they stay in a core's cache between being read and being summed
_buffers = threading.local()

Beat = Callable[[], None]


def crc32_of(
    path: Path, offset: int = 0, length: int | None = None, beat: Beat | None = None
) -> int:
    """CRC-32 of a part of a file, or of all of it.

    Reads with the interpreter's lock released, and maps nothing: a rank's memory does not grow.

    Args:
        beat: called after each chunk.

    Raises:
        OSError: it cannot be read, or is shorter than that.
    """
    crc = 0

    def add(chunk: memoryview) -> None:
        nonlocal crc
        crc = crc32(chunk, crc)

    _read(path, offset, length, add, beat)
    return crc


def digest_of(path: Path, algorithm: str, beat: Beat | None = None) -> str:
    """A whole file's digest in hexadecimal: "sha256", "md5", or "git", which is git's name of a
    blob and what a hub calls a small file. Raises OSError.
    """
    digest = hashlib.new("sha1" if algorithm == "git" else algorithm, usedforsecurity=False)
    if algorithm == "git":
        digest.update(f"blob {path.stat().st_size}\0".encode())
    _read(path, 0, None, digest.update, beat)
    return digest.hexdigest()


def _read(
    path: Path,
    offset: int,
    length: int | None,
    add: Callable[[memoryview], None],
    beat: Beat | None,
) -> None:
    if not hasattr(_buffers, "view"):
        _buffers.view = memoryview(bytearray(_CHUNK))
    buffer: memoryview = _buffers.view
    file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        left = os.fstat(file).st_size - offset if length is None else length
        while left > 0:
            count = os.preadv(file, [buffer[: min(left, _CHUNK)]], offset)
            if not count:
                raise OSError(f"{path.name} ends at {offset} bytes, {left} too early")
            add(buffer[:count])
            offset += count
            left -= count
            if beat is not None:
                beat()
    finally:
        os.close(file)
