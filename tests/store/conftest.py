"""A database of each kind for the tests of the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.store.place import Place, place_of
from store.postgres_server import PostgresServer, postgres_server, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL here (apt-get install postgresql)")
    with postgres_server(binaries) as server:
        yield server


@pytest.fixture
def postgres_place(postgres: PostgresServer) -> Place:
    """An empty database of a PostgreSQL."""
    return place_of(None, postgres.database(), {})


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database: a file that is not there yet, or one of a PostgreSQL."""
    if request.param == "sqlite":
        return place_of(tmp_path / "state", None, {})
    found: Place = request.getfixturevalue("postgres_place")
    return found
