"""API keys in the database: made, listed, revoked, rotated, and read by servers.

Each change is one transaction, which also raises the keys' version: a server that reads the same
version again need read no more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Connection, RowMapping, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from berth.store.database import open_database, store_errors, writing
from berth.store.decide import Snapshot
from berth.store.errors import KeyIsRevoked, NameTaken, NoSuchKey, SecretTaken
from berth.store.place import Place
from berth.store.records import MAX_NAME, DialectTag, Key, NewKey, Role, Secret, is_id
from berth.store.secrets import (
    ADOPTED_HINT,
    ENTROPY_BYTES,
    check_adopted,
    digest_of,
    hint_of,
    secret_of,
)
from berth.store.tables import api_key_secrets, api_keys, store_versions

_KEYS = "keys"  # their row of store_versions
_KEPT_SECONDS = 90 * 86_400  # of a replaced secret


_VERSION = select(store_versions.c.value).where(store_versions.c.name == _KEYS)


class KeyStore:
    """The keys of one database. Every method may raise StoreError; `now` is seconds since 1970.

    May be used by several threads; not across a fork.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._engine = open_database(place)

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def create(self, wanted: NewKey, now: int) -> tuple[Key, str]:
        """A new key, and its secret, which nothing can show again.

        Raises:
            NameTaken: a key that is not revoked has the name.
        """
        secret = secret_of(os.urandom(ENTROPY_BYTES))
        return self._add(wanted, {secret: hint_of(secret)}, now), secret

    def adopt(self, wanted: NewKey, secret: str, now: int, *, with_sk: bool = False) -> Key:
        """A new key with a secret that another system gave out, so that its holders keep it.

        Args:
            with_sk: `sk-` before the secret makes no difference, as llama-api has it.

        Raises:
            ValueError: the secret is a placeholder, or too easily guessed; it is not repeated.
            NameTaken: as `create`.
            SecretTaken: another key has this secret.
        """
        check_adopted(secret)
        secrets = [secret]
        if with_sk:
            bare = secret.removeprefix("sk-")
            check_adopted(bare)
            secrets = [bare, f"sk-{bare}"]
        return self._add(wanted, dict.fromkeys(secrets, ADOPTED_HINT), now)

    def _add(self, wanted: NewKey, secrets: Mapping[str, str], now: int) -> Key:
        """A key with these secrets, each with its hint."""
        key_id = f"key_{os.urandom(8).hex()}"
        digests = [digest_of(secret.encode()) for secret in secrets]
        with store_errors(self._place):
            try:
                with writing(self._engine) as connection:
                    taken = api_key_secrets.c.digest.in_(digests)
                    if connection.execute(select(api_key_secrets.c.digest).where(taken)).first():
                        raise SecretTaken("Another key has this secret already.")
                    connection.execute(
                        api_keys.insert().values(
                            id=key_id,
                            name=wanted.name,
                            note=wanted.note,
                            role=wanted.role,
                            models=json.dumps(wanted.models) if wanted.models else None,
                            requests_per_minute=wanted.requests_per_minute,
                            concurrent=wanted.concurrent,
                            dialect=wanted.dialect,
                            created_at=now,
                            expires_at=wanted.expires_at,
                        )
                    )
                    for secret, hint in secrets.items():
                        _add_secret(connection, key_id, secret, hint, now)
                    _raise_version(connection)
                    return _read_key(connection, key_id)
            except IntegrityError:
                raise NameTaken(
                    f"There is a key named {wanted.name!r} already. Revoke or rotate it, or take "
                    "another name."
                ) from None

    def list(self) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        with store_errors(self._place), self._engine.connect() as connection:
            return _read_keys(connection)

    def revoke(self, name_or_id: str, now: int) -> Key:
        """End a key for good. One that is revoked already stays as it is.

        Raises:
            NoSuchKey: no key has this id, and none that is not revoked this name.
        """
        with store_errors(self._place), writing(self._engine) as connection:
            key = _named(connection, name_or_id)
            if key.revoked_at is None:
                connection.execute(
                    update(api_keys).where(api_keys.c.id == key.id).values(revoked_at=now)
                )
                _raise_version(connection)
            return _read_key(connection, key.id)

    def rotate(self, name_or_id: str, now: int, grace: int) -> tuple[Key, str]:
        """A new secret for a key; the ones before it open for `grace` more seconds.

        Raises:
            NoSuchKey: as `revoke`.
            KeyIsRevoked: the key was revoked.
        """
        secret = secret_of(os.urandom(ENTROPY_BYTES))
        with store_errors(self._place), writing(self._engine) as connection:
            key = _named(connection, name_or_id)
            if key.revoked_at is not None:
                raise KeyIsRevoked(f"The key {key.name!r} is revoked. Create another one.")
            until = api_key_secrets.c.valid_until
            connection.execute(
                update(api_key_secrets)
                .where(api_key_secrets.c.key_id == key.id)
                .where(or_(until.is_(None), until > now + grace))
                .values(valid_until=now + grace)
            )
            # Who still has one that ended so long ago is told that it is none, not that it was.
            connection.execute(
                delete(api_key_secrets)
                .where(api_key_secrets.c.key_id == key.id)
                .where(until <= now - _KEPT_SECONDS)
            )
            _add_secret(connection, key.id, secret, hint_of(secret), now)
            connection.execute(
                update(api_keys).where(api_keys.c.id == key.id).values(rotated_at=now)
            )
            _raise_version(connection)
            return _read_key(connection, key.id), secret

    def snapshot(self, known: Snapshot | None = None) -> Snapshot:
        """All keys as a server needs them; `known` itself where nothing has changed since."""
        with store_errors(self._place), self._engine.connect() as connection:
            # Read first: keys that are newer than their version are only read once more.
            version = connection.execute(_VERSION).scalar_one()
            if known is not None and known.version == version:
                return known
            keys = _read_keys(connection)
            rows = connection.execute(
                select(
                    api_key_secrets.c.digest,
                    api_key_secrets.c.key_id,
                    api_key_secrets.c.valid_until,
                )
            )
            secrets = [Secret(bytes(digest), key_id, until) for digest, key_id, until in rows]
        return Snapshot(version, keys, secrets)

    def note_use(self, used: Mapping[str, int]) -> None:
        """When keys were last used, by their ids. Never goes back, whatever server says it."""
        if not used:
            return
        last = api_keys.c.last_used_at
        with store_errors(self._place), writing(self._engine) as connection:
            for key_id, moment in sorted(used.items()):  # one order: two servers cannot deadlock
                connection.execute(
                    update(api_keys)
                    .where(api_keys.c.id == key_id)
                    .where(or_(last.is_(None), last < moment))
                    .values(last_used_at=moment)
                )


def _add_secret(connection: Connection, key_id: str, secret: str, hint: str, now: int) -> None:
    connection.execute(
        api_key_secrets.insert().values(
            digest=digest_of(secret.encode()), key_id=key_id, hint=hint, created_at=now
        )
    )


def _raise_version(connection: Connection) -> None:
    version = store_versions.c.value
    connection.execute(
        update(store_versions).where(store_versions.c.name == _KEYS).values(value=version + 1)
    )


def _named(connection: Connection, name_or_id: str) -> Key:
    # What no name can be is not asked for: PostgreSQL takes no NUL, and neither half a surrogate.
    sane = name_or_id.isprintable() and len(name_or_id) <= MAX_NAME
    found = _read_keys(connection, name_or_id) if sane else []
    if not found:
        raise NoSuchKey(f"There is no key {name_or_id[:100]!r}; `berth keys list` shows them all.")
    return found[0]


def _read_key(connection: Connection, key_id: str) -> Key:
    (key,) = _read_keys(connection, key_id)
    return key


def _read_keys(connection: Connection, name_or_id: str | None = None) -> list[Key]:
    newest = (
        select(api_key_secrets.c.hint)
        .where(api_key_secrets.c.key_id == api_keys.c.id)
        # The newest has no end of its own.
        .order_by(api_key_secrets.c.valid_until.is_(None).desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(api_keys, func.coalesce(newest, "").label("hint"))
    if name_or_id is not None and is_id(name_or_id):
        query = query.where(api_keys.c.id == name_or_id)
    elif name_or_id is not None:
        query = query.where(api_keys.c.name == name_or_id, api_keys.c.revoked_at.is_(None))
    rows = connection.execute(query.order_by(api_keys.c.created_at, api_keys.c.id))
    return [_key_of(row) for row in rows.mappings()]


def _key_of(row: RowMapping) -> Key:
    values: dict[str, Any] = dict(row)
    models = values.pop("models")
    return Key(
        **{
            **values,
            "models": tuple(json.loads(models)) if models else (),
            "role": cast(Role, values["role"]),
            "dialect": cast(DialectTag | None, values["dialect"]),
        }
    )
