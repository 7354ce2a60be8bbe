"""Conversations in the database: whole histories, each its owner's alone.

An exchange is written in one transaction, after its answer was given: what is stored was said, and
what was not said is not stored. Reading a conversation's end costs the same however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError

from berth.store.database import open_database, store_errors, writing
from berth.store.errors import NoSuchSession, SessionMoved
from berth.store.place import Place
from berth.store.tables import session_exchanges, sessions
from berth.store.window import Exchange, Room, name_of, window

MAX_ID = 200  # characters
_PAGE = 64  # exchanges that are read at one time


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation without what was said in it."""

    id: str
    name: str
    exchanges: int
    created_at: int
    updated_at: int


class SessionStore:
    """The sessions of one database. Every method may raise StoreError.

    `owner` is the id of a key, or "" where no key of the database was used; the same id of two
    owners is two sessions. `now` is seconds since 1970. May be used by several threads.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._engine = open_database(place)

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def append(
        self, owner: str, session_id: str, exchange: Exchange, *, after: int | None = None
    ) -> int:
        """Add an exchange that took place, and make the session where there is none.

        Args:
            after: how many exchanges the session had when its window was read; None: any.

        Returns:
            How many it has now.

        Raises:
            ValueError: no session may have this id, or a text cannot be stored.
            SessionMoved: it has another number of exchanges than `after`.
        """
        check_session_id(session_id)
        _check_text("asked", exchange.asked)
        _check_text("answered", exchange.answered)
        with store_errors(self._place):
            try:
                with writing(self._engine) as connection:
                    return self._append(connection, owner, session_id, exchange, after)
            except IntegrityError:  # another server has made it meanwhile
                raise SessionMoved(_MOVED) from None

    def _append(
        self,
        connection: Connection,
        owner: str,
        session_id: str,
        exchange: Exchange,
        after: int | None,
    ) -> int:
        moment = exchange.created_at
        found = None
        if after != 0:  # a session has at least one exchange
            where = {"of": owner, "named": session_id, "moment": moment}
            if after is None:
                found = connection.execute(_GROW, where).one_or_none()
            else:
                found = connection.execute(_GROW_AFTER, {**where, "after": after}).one_or_none()
        if found is None:
            if after:
                raise SessionMoved(_MOVED)
            first = {
                "owner": owner, "id": session_id, "name": name_of(exchange.asked), "exchanges": 1,
                "created_at": moment, "updated_at": moment,
            }  # fmt: skip
            found = connection.execute(_BEGIN, first).one()
        number, count = found
        connection.execute(
            _SAY,
            {
                "session": number, "place": count, "asked": exchange.asked,
                "answered": exchange.answered, "tokens": exchange.tokens, "created_at": moment,
            },
        )  # fmt: skip
        return int(count)

    def window(self, owner: str, session_id: str, room: Room) -> tuple[int, list[Exchange]]:
        """How many exchanges a session has, and the last of them that there is room for.

        Oldest first; (0, []) where there is no such session yet.

        Raises:
            ValueError: no session may have this id.
        """
        check_session_id(session_id)
        with store_errors(self._place), self._engine.connect() as connection:
            found = connection.execute(_COUNT, {"of": owner, "named": session_id}).one_or_none()
            if found is None:
                return 0, []
            page = min(_PAGE, room.exchanges) if room.exchanges is not None else _PAGE
            newest = _newest_first(connection, found.number, found.exchanges, max(1, page))
            return found.exchanges, window(newest, room)

    def read(self, owner: str, session_id: str) -> tuple[Session, list[Exchange]]:
        """A session with its whole history, oldest first. Raises NoSuchSession."""
        with store_errors(self._place), self._engine.connect() as connection:
            number, session = _named(connection, owner, session_id)
            everything = list(_newest_first(connection, number, session.exchanges, _PAGE))
        everything.reverse()
        return session, everything

    def delete(self, owner: str, session_id: str) -> None:
        """Forget a session and all that was said in it. Raises NoSuchSession."""
        with store_errors(self._place), writing(self._engine) as connection:
            number, _ = _named(connection, owner, session_id)
            connection.execute(
                delete(session_exchanges).where(session_exchanges.c.session == number)
            )
            connection.execute(delete(sessions).where(sessions.c.number == number))

    def list(self, owner: str) -> list[Session]:
        """An owner's sessions, those that were used last first."""
        query = _sessions().where(sessions.c.owner == owner)
        with store_errors(self._place), self._engine.connect() as connection:
            rows = connection.execute(
                query.order_by(sessions.c.updated_at.desc(), sessions.c.number.desc())
            )
            return [_session(row) for row in rows]


# Made once: what SQLAlchemy does to make a statement costs more than its execution.
_ONE = (sessions.c.owner == bindparam("of")) & (sessions.c.id == bindparam("named"))
_COUNT = select(sessions.c.number, sessions.c.exchanges).where(_ONE)
# Finds, counts and locks in one.
_GROW = (
    update(sessions)
    .where(_ONE)
    .values(exchanges=sessions.c.exchanges + 1, updated_at=bindparam("moment"))
    .returning(sessions.c.number, sessions.c.exchanges)
)
_GROW_AFTER = _GROW.where(sessions.c.exchanges == bindparam("after"))
_BEGIN = sessions.insert().returning(sessions.c.number, sessions.c.exchanges)
_SAY = session_exchanges.insert()
_NEWEST = (
    select(
        session_exchanges.c.asked,
        session_exchanges.c.answered,
        session_exchanges.c.tokens,
        session_exchanges.c.created_at,
    )
    .where(session_exchanges.c.session == bindparam("of"))
    .where(session_exchanges.c.place <= bindparam("last"))
    .order_by(session_exchanges.c.place.desc())
    .limit(bindparam("page"))
)
_MOVED = "Another request has added to this session meanwhile. Ask again."


def check_session_id(session_id: str) -> None:
    """Raises ValueError where no session may have this id."""
    if not session_id:
        raise ValueError("session_id must not be empty")
    if len(session_id) > MAX_ID:
        raise ValueError(f"session_id must have {MAX_ID} characters at most")
    if not session_id.isprintable():
        raise ValueError("session_id must have printable characters only")


def _check_text(field: str, text: str) -> None:
    """PostgreSQL's texts hold no NUL, and no database's half a surrogate pair."""
    try:
        storable = b"\0" not in text.encode()
    except UnicodeEncodeError:
        storable = False
    if not storable:
        raise ValueError(f"{field} has a character that cannot be stored")


def _sessions() -> Select[Any]:
    columns = sessions.c
    return select(
        columns.number, columns.id, columns.name, columns.exchanges, columns.created_at,
        columns.updated_at,
    )  # fmt: skip


def _session(row: Row[Any]) -> Session:
    return Session(
        id=row.id,
        name=row.name,
        exchanges=row.exchanges,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _named(connection: Connection, owner: str, session_id: str) -> tuple[int, Session]:
    """A session's number and itself. What no id can be is not asked for."""
    try:
        check_session_id(session_id)
    except ValueError:
        found = None
    else:
        query = _sessions().where(sessions.c.owner == owner, sessions.c.id == session_id)
        found = connection.execute(query).one_or_none()
    if found is None:
        raise NoSuchSession(f"There is no session {session_id[:100]!r}.")
    return found.number, _session(found)


def _newest_first(connection: Connection, number: int, last: int, page: int) -> Iterator[Exchange]:
    """A session's exchanges up to its `last`, read as they are asked for."""
    while last > 0:
        which = {"of": number, "last": last, "page": page}
        rows = connection.execute(_NEWEST, which).all()
        if not rows:
            return  # deleted meanwhile
        for asked, answered, tokens, created_at in rows:
            yield Exchange(asked=asked, answered=answered, tokens=tokens, created_at=created_at)
        last -= len(rows)
        page = _PAGE
