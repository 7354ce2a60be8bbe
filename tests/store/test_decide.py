"""Whether a secret opens anything: only itself, only its key, only in its time."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from berth.store.decide import EMPTY, Snapshot
from berth.store.records import Key, Secret
from berth.store.secrets import digest_of

NOW = 1_000_000
MOMENT = st.none() | st.integers(NOW - 2, NOW + 2)


def key_of(key_id: str, expires_at: int | None = None, revoked_at: int | None = None) -> Key:
    return Key(
        id=key_id, name=key_id, note="", role="user", models=(), requests_per_minute=None,
        concurrent=None, dialect=None, created_at=0, expires_at=expires_at, revoked_at=revoked_at,
        rotated_at=None, last_used_at=None, hint="",
    )  # fmt: skip


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=8), MOMENT, MOMENT, MOMENT), max_size=6,
             unique_by=lambda each: each[0]),
    st.binary(max_size=8),
)  # fmt: skip
def test_a_secret_opens_if_it_is_stored_and_nothing_of_it_has_ended(
    stored: list[tuple[bytes, int | None, int | None, int | None]], other: bytes
) -> None:
    keys = [key_of(f"k{n}", expires, revoked) for n, (_, expires, revoked, _) in enumerate(stored)]
    secrets = [
        Secret(digest_of(secret), f"k{n}", until) for n, (secret, _, _, until) in enumerate(stored)
    ]
    snapshot = Snapshot(1, keys, secrets)
    for number, (secret, expires, revoked, until) in enumerate(stored):
        verdict = snapshot.find(secret, NOW)
        assert verdict.key is keys[number]
        expected = None
        if until is not None and until <= NOW:
            expected = "replaced"
        if expires is not None and expires <= NOW:
            expected = "expired"
        if revoked is not None:
            expected = "revoked"
        assert verdict.reason == expected
    if other not in [each[0] for each in stored]:
        assert snapshot.find(other, NOW).key is None
        assert snapshot.find(other, NOW).reason == "unknown"


def test_a_digest_that_only_begins_alike_opens_nothing() -> None:
    near = digest_of(b"secret")[:8] + bytes(24)
    whole = digest_of(b"secret")
    snapshot = Snapshot(1, [key_of("a"), key_of("b")], [Secret(near, "a", None)])
    assert snapshot.find(b"secret", NOW).reason == "unknown"
    both = [Secret(near, "a", None), Secret(whole, "b", None)]
    for secrets in (both, both[::-1]):
        found = Snapshot(1, [key_of("a"), key_of("b")], secrets).find(b"secret", NOW)
        assert found.key is not None
        assert found.key.id == "b"


def test_the_stored_digest_itself_opens_nothing() -> None:
    """Who reads the database cannot call with what is in it."""
    digest = digest_of(b"secret")
    snapshot = Snapshot(1, [key_of("a")], [Secret(digest, "a", None)])
    for offered in (digest, digest.hex().encode(), bytes(32)):
        assert snapshot.find(offered, NOW).reason == "unknown"


def test_a_database_without_keys_opens_for_nothing() -> None:
    for offered in (b"", bytes(32), b"constructor"):
        assert EMPTY.find(offered, NOW).reason == "unknown"
    zero = Snapshot(1, [key_of("")], [])
    assert zero.find(b"x", NOW).reason == "unknown"


def test_the_digest_is_sha256() -> None:
    assert digest_of(b"abc") == hashlib.sha256(b"abc").digest()
