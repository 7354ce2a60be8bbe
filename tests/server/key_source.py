"""A database of keys in memory, whose every call is counted, and a clock that tests turn."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from berth.server.keys import Keys
from berth.store.decide import Snapshot
from berth.store.errors import StoreError
from berth.store.records import Key, Secret
from berth.store.secrets import digest_of

WALL = 1_800_000_000


@dataclass
class MemorySource:
    """`berth.server.keys.Source`; `broken` makes every call fail, `hold` makes it wait."""

    keys: dict[str, Key] = field(default_factory=dict)
    secrets: list[Secret] = field(default_factory=list)
    version: int = 0
    reads: int = 0
    uses: list[dict[str, int]] = field(default_factory=list)
    broken: bool = False
    closed: bool = False
    hold: threading.Event | None = None

    def add(self, name: str, **values: Any) -> str:
        """A key of this name; its secret."""
        fields = {
            "note": "", "role": "user", "models": (), "requests_per_minute": None,
            "concurrent": None, "dialect": None, "created_at": WALL, "expires_at": None,
            "revoked_at": None, "rotated_at": None, "last_used_at": None, "hint": "", **values,
        }  # fmt: skip
        self.keys[name] = Key(id=f"id-{name}", name=name, **fields)
        secret = f"secret-of-{name}"
        self.secrets.append(Secret(digest_of(secret.encode()), f"id-{name}", None))
        self.version += 1
        return secret

    def change(self, name: str, **values: Any) -> None:
        self.keys[name] = replace(self.keys[name], **values)
        self.version += 1

    def read(self, known: Snapshot) -> Snapshot:
        self.reads += 1
        self._maybe_fail()
        if known.version == self.version:
            return known
        return Snapshot(self.version, list(self.keys.values()), list(self.secrets))

    def note_use(self, used: Mapping[str, int]) -> None:
        self._maybe_fail()
        self.uses.append(dict(used))

    def close(self) -> None:
        self.closed = True

    def _maybe_fail(self) -> None:
        if self.hold is not None:
            assert self.hold.wait(30)
        if self.broken:
            raise StoreError("The database memory cannot be used: it is broken.")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL + self.now - 1000.0


def keys_of(source: MemorySource, clock: Clock, *own: str) -> Keys:
    """A server's keys, read once."""
    keys = Keys(own, source, clock=clock, wall=clock.wall)
    keys.load()
    return keys
