"""The keys of one server: its owner's own, and those of a database, read anew while it runs.

A request finds every key in memory. What is in memory is read again by the first request that
comes REFRESH_SECONDS after the last reading; nothing is read while no request comes, and a request
never uses what is older. When keys were last used is written in batches.

If the database cannot be read, the server stays up: what was read before holds for OUTAGE_SECONDS
more. Then every request that needs a key is refused, since a key may have been revoked meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from berth.server.callers import Caller
from berth.serving.errors import Unavailable
from berth.store.decide import EMPTY, Snapshot, Verdict
from berth.store.errors import StoreError
from berth.store.limiter import Limiter
from berth.store.records import Key

REFRESH_SECONDS = 2.0
OUTAGE_SECONDS = 300.0
FLUSH_SECONDS = 30.0  # after the first use that is not written yet
_WAIT_SECONDS = 1.0  # for a reading, while what was read before holds

_T = TypeVar("_T")
_log = logging.getLogger("berth.server")


class Source(Protocol):
    """A database as `berth.store.source.KeySource` has it. May block; one call at a time."""

    def read(self, known: Snapshot) -> Snapshot:
        """The keys there are now. Raises StoreError."""
        ...

    def note_use(self, used: Mapping[str, int]) -> None:
        """When keys were last used, by their ids. Raises StoreError."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """One key in one server: its caller, and what it has used."""

    key_id: str
    caller: Caller
    limiter: Limiter | None  # None: it has no limits


class Keys:
    """All methods belong to the event loop's thread."""

    def __init__(
        self,
        api_keys: Iterable[str] = (),
        source: Source | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`api_keys` are the owner's own. `clock` never goes back; `wall` is the time of day."""
        self.own = tuple(key.encode() for key in api_keys)
        self.clock = clock
        self._wall = wall
        self._source = source
        self._snapshot = EMPTY
        self._accounts: dict[str, Account] = {}
        self._read_at = clock()
        self._next = clock()
        self._reading: asyncio.Task[None] | None = None
        self._failing = False
        self._used: dict[str, int] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    @property
    def asked(self) -> bool:
        """Whether a key is asked for. A server does not open when its last key is revoked."""
        return bool(self.own or self._snapshot.keys)

    def load(self) -> None:
        """Read the database now, before the server listens. Raises StoreError."""
        if self._source is not None:
            started = self.clock()
            self._take(self._source.read(self._snapshot))
            self._read_at, self._next = started, started + REFRESH_SECONDS

    def stale(self) -> bool:
        """Whether `refresh` is due before anything is decided."""
        return self._source is not None and self.clock() >= self._next

    async def refresh(self) -> None:
        """Read the database again, together with whatever other request waits for that.

        Where it cannot be read, what is in memory stays; `check_age` says for how long.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        reading = self._reading
        await asyncio.wait((reading,), timeout=_WAIT_SECONDS)
        if reading.done():
            reading.result()  # raises what is no StoreError: a fault of ours
        now = self.clock()
        if now >= self._next:  # it takes long: the others need not wait as well
            self._next = now + REFRESH_SECONDS

    def check_age(self) -> None:
        """Raises Unavailable if what is in memory of the database is too old to go by."""
        if self._source is not None and self.clock() - self._read_at > OUTAGE_SECONDS:
            raise Unavailable("The server's keys cannot be read at the moment.", retry_after=5)

    async def _read(self) -> None:
        started = self.clock()
        assert self._source is not None
        try:
            snapshot = await self._blocking(self._source.read, self._snapshot)
        except StoreError as error:
            if not self._failing:
                _log.error("keys cannot be read: %s Those read before hold for a while.", error)
            self._failing = True
        else:
            if self._failing:
                _log.info("keys can be read again")
            self._failing = False
            self._take(snapshot)
            self._read_at, self._next = started, started + REFRESH_SECONDS
        finally:
            self._reading = None
            if self.clock() >= self._next:  # it failed: not every request is to try it
                self._next = self.clock() + REFRESH_SECONDS

    def _take(self, snapshot: Snapshot) -> None:
        if snapshot is self._snapshot:
            return
        self._snapshot = snapshot
        before = self._accounts
        self._accounts = {
            key.id: _account(key, before.get(key.id)) for key in snapshot.keys.values()
        }

    def find(self, offered: bytes) -> Verdict:
        """What an offered secret is now."""
        return self._snapshot.find(offered, int(self._wall()))

    def account_of(self, key: Key) -> Account:
        """A found key's account; its use is noted."""
        self._used[key.id] = int(self._wall())
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_later(FLUSH_SECONDS, self._flush_soon)
        return self._accounts[key.id]

    def _flush_soon(self) -> None:
        self._writing = asyncio.create_task(self.flush())

    async def flush(self) -> None:
        """Write when keys were last used. What cannot be written is tried again with the next."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        used, self._used = self._used, {}
        if self._source is None or not used:
            return
        try:
            await self._blocking(self._source.note_use, used)
        except StoreError as error:
            _log.warning("the last use of keys cannot be written: %s", error)
            self._used = {**used, **self._used}

    async def close(self) -> None:
        """Write what is not written yet, and close the database."""
        if self._source is None:
            return
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await self.flush()
        await self._blocking(self._source.close)
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def _blocking(self, work: Callable[..., _T], *args: object) -> _T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="berth-keys")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _account(key: Key, before: Account | None) -> Account:
    """What a key has used is kept when its limits or its rights change."""
    models = frozenset(key.models) if key.models else None
    caller = Caller(key.name, key.role == "admin", models, key.dialect)
    if key.requests_per_minute is None and key.concurrent is None:
        return Account(key.id, caller, None)
    limiter = before.limiter if before is not None else None
    if limiter is None:
        limiter = Limiter(key.requests_per_minute, key.concurrent)
    limiter.requests_per_minute, limiter.concurrent = key.requests_per_minute, key.concurrent
    return Account(key.id, caller, limiter)
