"""Opening the database: a file of SQLite or a PostgreSQL, at the tables of this version.

What is acknowledged is on the disk: a transaction is committed with `synchronous=FULL`, and a step
of the migrations is one transaction, so that a kill at any moment leaves one state or the other.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from berth.store.errors import StoreError
from berth.store.place import Place
from berth.store.tables import REVISIONS

# Seconds: a write of another process takes milliseconds; a server that does not answer at all.
_BUSY_SECONDS = 10
_CONNECT_SECONDS = 5
_STATEMENT_MILLISECONDS = 10_000
_MIGRATION_LOCK = 0x62657274  # any number that others are unlikely to take; PostgreSQL's own lock
_WRITES = "berth_writes"
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(place: Place) -> Engine:
    """The database, made or brought to this version's tables where needed.

    Raises:
        StoreError: it cannot be opened, or a newer Berth made it.
    """
    with store_errors(place):
        engine = _sqlite(place.file) if place.file is not None else _postgres(place.url or "")
        try:
            _bring_up(engine)
        except BaseException:
            engine.dispose()
            raise
    return engine


@contextlib.contextmanager
def store_errors(place: Place) -> Iterator[None]:
    """Raises StoreError in the place of what the database's driver or the system raises."""
    try:
        yield
    except SQLAlchemyError as error:
        # The driver's words: SQLAlchemy's own hold the statement and its values.
        said = str(getattr(error, "orig", None) or type(error).__name__).strip().partition("\n")[0]
        raise StoreError(f"The database {place.shown} cannot be used: {said}.") from None
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else type(error).__name__
        raise StoreError(f"The database {place.shown} cannot be used: {said}.") from None


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes, alone from its first statement on."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


def migrate(engine: Engine, revision: str) -> None:
    """Bring the tables to a revision, `base` (none) included, up or down, in one transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK}
            )
        config.attributes["connection"] = connection
        now = revision_of(connection)
        steps = ("base", *REVISIONS)
        here, there = steps.index(now or "base"), steps.index(revision)
        if here < there:
            command.upgrade(config, revision)
        elif here > there:  # where they are equal, another process was here first
            command.downgrade(config, revision)


def revision_of(connection: Connection) -> str | None:
    """What the tables are at; None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def _bring_up(engine: Engine) -> None:
    with engine.connect() as connection:
        now = revision_of(connection)
    if now == REVISIONS[-1]:
        return
    if now is not None and now not in REVISIONS:
        raise StoreError(
            f"The database was made by a newer Berth (its tables are at {now}, and this one knows "
            f"them up to {REVISIONS[-1]}). Use that Berth, or another database."
        )
    migrate(engine, REVISIONS[-1])


def _sqlite(file: Path) -> Engine:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # For its owner alone. SQLite gives the files beside it (-wal, -shm) the same rights.
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = create_engine(
        URL.create("sqlite", database=str(file)),  # a path needs no escaping there
        hide_parameters=True,
        connect_args={"timeout": _BUSY_SECONDS},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the module would begin transactions at its own moments
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that will write takes the lock at once: no other can come between what it
    reads and what it writes."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres(url: str) -> Engine:
    return create_engine(
        url,
        pool_size=1,
        pool_pre_ping=True,  # a connection that a failover or a proxy closed is made anew
        hide_parameters=True,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "options": f"-c statement_timeout={_STATEMENT_MILLISECONDS}",
            "application_name": "berth",
        },
    )
