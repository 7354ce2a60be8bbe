"""A server's view of the keys' database: opened when there is one, and not before.

SQLAlchemy is imported at that moment: a server whose owner has made no key does without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from berth.store.decide import EMPTY, Snapshot
from berth.store.errors import StoreError
from berth.store.place import Place

if TYPE_CHECKING:
    from berth.store.keys import KeyStore


class KeySource:
    """Every method may block, and is to be called by one thread at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._store: KeyStore | None = None
        self._file: tuple[int, int] | None = None  # device and inode of what is open

    def read(self, known: Snapshot) -> Snapshot:
        """The keys there are now; `known` itself where nothing has changed.

        Raises:
            StoreError: the database cannot be read; or it is gone, though there were keys.
        """
        try:
            file = self._identity()
        except OSError as error:
            raise StoreError(
                f"The database {self._place.shown} cannot be used: {os.strerror(error.errno or 0)}."
            ) from None
        if file != self._file:  # made, removed, or another one in its place: a restored backup
            self.close()
        if self._store is None:
            if self._place.file is not None and file is None:
                # A server that asked for keys does not open because their file is away.
                if known.keys:
                    raise StoreError(f"The database {self._place.shown} is gone.")
                return EMPTY
            from berth.store.keys import KeyStore

            self._store = KeyStore(self._place)
            self._file = file
            return self._store.snapshot()
        return self._store.snapshot(known)

    def note_use(self, used: Mapping[str, int]) -> None:
        """As `KeyStore.note_use`; nothing where the database is not open."""
        if self._store is not None:
            self._store.note_use(used)

    def close(self) -> None:
        """Close what is open. It may be read again."""
        if self._store is not None:
            self._store.close()
            self._store = None
            self._file = None

    def _identity(self) -> tuple[int, int] | None:
        if self._place.file is None or not self._place.exists():
            return None
        found = self._place.file.stat()
        return found.st_dev, found.st_ino
