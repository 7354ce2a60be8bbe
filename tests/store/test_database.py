"""The tables go up and down, on both databases, and what cannot be opened says why."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from berth.store.database import migrate, open_database, revision_of, writing
from berth.store.errors import StoreError
from berth.store.keys import KeyStore
from berth.store.migrations import versions
from berth.store.place import Place, place_of
from berth.store.records import NewKey
from berth.store.tables import REVISIONS, metadata


def test_every_step_goes_up_down_and_up_again(place: Place) -> None:
    engine = open_database(place)
    for revision in ("base", *REVISIONS, *reversed(REVISIONS[:-1]), "base", REVISIONS[-1]):
        migrate(engine, revision)
        migrate(engine, revision)  # nothing happens
        with engine.connect() as connection:
            assert (revision_of(connection) or "base") == revision
            left = set(inspect(connection).get_table_names()) - {"alembic_version"}
            assert (left == set()) == (revision == "base")
    engine.dispose()


def test_the_steps_lead_to_the_tables_that_are_read(place: Place) -> None:
    engine = open_database(place)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        checks = inspect(connection).get_check_constraints("api_keys")
        assert [check["name"] for check in checks] == ["api_keys_role"]
        (index,) = inspect(connection).get_indexes("api_keys")
        assert (index["name"], bool(index["unique"])) == ("api_keys_name", True)
    engine.dispose()


def test_every_step_is_known_by_name() -> None:
    folder = Path(versions.__path__[0])
    files = sorted(path.name for path in folder.glob("v*.py"))
    assert [name[1:5] for name in files] == list(REVISIONS)


def test_a_database_that_was_just_made_and_left_is_brought_up(tmp_path: Path) -> None:
    """A kill between the file and its tables leaves an empty file."""
    (tmp_path / "berth.db").touch()
    store = KeyStore(place_of(tmp_path, None, {}))
    assert store.list() == []
    store.close()


def test_a_newer_database_is_left_alone(place: Place) -> None:
    store = KeyStore(place)
    store.create(NewKey(name="ci"), 1)
    store.close()
    engine = open_database(place)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"newer Berth .*9999"):
        KeyStore(place)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM api_keys")).scalar_one() == 1
    engine.dispose()


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    place = place_of(tmp_path / "state", None, {})
    store = KeyStore(place)
    store.create(NewKey(name="ci"), 1)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    files = list((tmp_path / "state").iterdir())
    assert {file.name for file in files} == {"berth.db", "berth.db-wal", "berth.db-shm"}
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    store.close()


@pytest.mark.parametrize("strange", ["a b", "a%41", "a?mode=memory", "a#b", "ü"])
def test_a_path_is_taken_as_it_is(tmp_path: Path, strange: str) -> None:
    store = KeyStore(place_of(tmp_path / strange, None, {}))
    store.close()
    assert (tmp_path / strange / "berth.db").stat().st_size > 0


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "berth.db").write_bytes(b"these are not the tables of a database" * 100)
    with pytest.raises(StoreError, match=r"berth\.db cannot be used: file is not a database\."):
        KeyStore(place_of(tmp_path, None, {}))
    (tmp_path / "folder" / "berth.db").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"cannot be used: Is a directory\."):
        KeyStore(place_of(tmp_path / "folder", None, {}))
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be used: (Not a directory|File exists)\."):
        KeyStore(place_of(tmp_path / "file", None, {}))


def test_a_postgresql_that_does_not_answer_is_said_without_its_password(tmp_path: Path) -> None:
    place = place_of(None, f"postgresql://u:hunter2@/n?host={tmp_path}", {})
    with pytest.raises(StoreError, match="cannot be used: ") as caught:
        KeyStore(place)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
