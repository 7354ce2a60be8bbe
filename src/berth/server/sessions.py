"""Conversations that the server remembers: one turn after the other in each of them.

A turn reads the end of its session, answers, and keeps the exchange. Two requests to one session
take their turns in the order in which they came; requests to different ones do not wait for each
other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from berth.serving.errors import InvalidRequest, Unavailable
from berth.store.errors import SessionMoved, StoreError
from berth.store.window import Exchange, Room

_T = TypeVar("_T")


class Store(Protocol):
    """A database of sessions as `berth.store.sessions.SessionStore` has it. May block."""

    def window(self, owner: str, session_id: str, room: Room) -> tuple[int, list[Exchange]]:
        """How many exchanges there are, and the last of them, oldest first."""
        ...

    def append(
        self, owner: str, session_id: str, exchange: Exchange, *, after: int | None = None
    ) -> int:
        """Add an exchange; how many there are now."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class Turn:
    """One request's turn in a session. `history` is what there was room for, oldest first."""

    def __init__(
        self, history: list[Exchange], keep: Callable[[Exchange], asyncio.Future[int]]
    ) -> None:
        self.history = history
        self._keep = keep
        self.kept = False

    async def keep(self, exchange: Exchange) -> None:
        """Store what was asked and answered, once the answer is complete. Once a turn.

        It is stored even if the request is cancelled meanwhile: the answer was given.

        Raises:
            Unavailable: the database cannot be written; or another server has added to the session
                since the turn began.
        """
        assert not self.kept
        self.kept = True
        try:
            await asyncio.shield(self._keep(exchange))
        except SessionMoved as error:
            raise Unavailable(str(error), retry_after=1) from None
        except StoreError:
            raise Unavailable("The answer cannot be stored at the moment.", retry_after=5) from None


class Sessions:
    """All sessions of a server. All methods belong to the event loop's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="berth-sessions")
        # (owner, session) to its lock, and how many hold it or wait for it.
        self._locks: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, owner: str, session_id: str, room: Room) -> AsyncIterator[Turn]:
        """This request's turn, when those before it have ended.

        Raises:
            InvalidRequest: no session may have this id.
            Unavailable: the database cannot be read.
        """
        async with self._alone(owner, session_id):
            try:
                count, history = await self._blocking(self._store.window, owner, session_id, room)
            except ValueError as error:
                raise InvalidRequest(f"{error}.", "session_id") from None
            except StoreError:
                raise Unavailable(
                    "The session cannot be read at the moment.", retry_after=5
                ) from None

            def keep(exchange: Exchange) -> asyncio.Future[int]:
                return self._blocking(
                    lambda: self._store.append(owner, session_id, exchange, after=count)
                )

            yield Turn(history, keep)

    @asynccontextmanager
    async def _alone(self, owner: str, session_id: str) -> AsyncIterator[None]:
        name = (owner, session_id)
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:  # asyncio's are fair: in the order of asking
                yield
        finally:
            lock, users = self._locks.pop(name)
            if users > 1:
                self._locks[name] = (lock, users - 1)

    async def close(self) -> None:
        """Close the database, once what is being written is written."""
        await self._blocking(self._store.close)
        self._thread.shutdown(wait=False)

    def _blocking(self, work: Callable[..., _T], *args: object) -> asyncio.Future[_T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
