"""A server's view of the database: there or not, cut off and back again."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text

from berth.store.decide import EMPTY
from berth.store.errors import StoreError
from berth.store.keys import KeyStore
from berth.store.place import Place
from berth.store.records import NewKey
from berth.store.source import KeySource

NOW = 1_800_000_000


def test_keys_that_are_made_beside_it_are_read_and_their_use_is_noted(place: Place) -> None:
    source = KeySource(place)
    first = source.read(EMPTY)
    assert not first.keys
    if place.file is not None:
        assert not place.exists(), "a server makes no database"
        assert first is EMPTY
    store = KeyStore(place)
    key, secret = store.create(NewKey(name="ci"), NOW)
    second = source.read(first)
    assert second.find(secret.encode(), NOW).key == key
    assert source.read(second) is second
    source.note_use({key.id: NOW + 7})
    assert store.list()[0].last_used_at == NOW + 7
    source.close()
    source.note_use({key.id: NOW + 9})  # closed: nothing happens
    assert store.list()[0].last_used_at == NOW + 7
    assert source.read(second).keys.keys() == {key.id}, "it may be read again"
    source.close()
    store.close()


def test_a_connection_that_was_cut_is_made_anew(postgres_place: Place) -> None:
    source = KeySource(postgres_place)
    store = KeyStore(postgres_place)
    store.create(NewKey(name="ci"), NOW)
    known = source.read(EMPTY)
    engine = create_engine(postgres_place.url or "")
    with engine.connect() as connection:
        cut = connection.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'berth' AND datname = current_database()"
            )
        ).scalar_one()
    assert cut == 2
    engine.dispose()
    assert source.read(known) is known
    store.revoke("ci", NOW)
    assert source.read(known).version == 2
    source.close()
    store.close()


def test_a_table_that_is_gone_is_said_and_not_taken_for_no_keys(place: Place) -> None:
    store = KeyStore(place)
    store.create(NewKey(name="ci"), NOW)
    source = KeySource(place)
    known = source.read(EMPTY)
    engine = create_engine(place.url or f"sqlite:///{place.file}")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE store_versions"))
    with pytest.raises(StoreError, match=r"cannot be used: .*store_versions"):
        source.read(known)
    engine.dispose()
    source.close()
    store.close()
