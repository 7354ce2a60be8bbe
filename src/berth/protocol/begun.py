"""Which requests an engine has begun to compute: a byte for each, in memory that outlives it.

After a death only those that took part may be its cause. A message could not say so: it would cost
each step something, and the last one would be lost with the process. A byte in a file that both
sides have mapped costs a store, and stays when the engine is killed in the middle of it.
"""

from __future__ import annotations

import mmap
from pathlib import Path

# More than are ever in flight: requests that share a byte could be blamed for each other.
_SLOTS = 1 << 16


class Begun:
    """The marks of one life of an engine, at either end. Request ids are whole numbers from 0."""

    def __init__(self, marks: mmap.mmap | bytearray) -> None:
        self._marks = marks

    @classmethod
    def create(cls, socket: str) -> Begun:
        """The server's end, beside the engine's socket. Raises OSError."""
        # Written whole: a hole that finds the disk full when it is filled would end the server.
        _path(socket).write_bytes(bytes(_SLOTS))
        return cls.open(socket)

    @staticmethod
    def remove(socket: str) -> None:
        """The file; both ends keep what they have mapped."""
        _path(socket).unlink(missing_ok=True)

    @classmethod
    def open(cls, socket: str) -> Begun:
        """The engine's end; if the server keeps no marks, they are made and never read."""
        try:
            with _path(socket).open("r+b") as file:
                return cls(mmap.mmap(file.fileno(), _SLOTS))
        except FileNotFoundError:
            return cls.nowhere()

    @classmethod
    def nowhere(cls) -> Begun:
        """Marks that no other process sees."""
        return cls(bytearray(_SLOTS))

    def clear(self, request_id: int) -> None:
        """The server: it is about to be sent."""
        self._marks[request_id % _SLOTS] = 0

    def mark(self, request_id: int) -> None:
        """The engine: its first step comes next."""
        self._marks[request_id % _SLOTS] = 1

    def has(self, request_id: int) -> bool:
        """The server: whether it was begun since it was cleared."""
        return bool(self._marks[request_id % _SLOTS])


def _path(socket: str) -> Path:
    return Path(f"{socket}.begun")
