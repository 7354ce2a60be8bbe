"""Keys in the database, of either kind: what is made is found, and what ends stays ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from berth.store.errors import KeyIsRevoked, NameTaken, NoSuchKey, SecretTaken
from berth.store.keys import KeyStore
from berth.store.place import Place
from berth.store.records import NewKey

NOW = 1_800_000_000
HOSTILE = [
    "../../etc/passwd",
    "constructor",
    "__proto__",
    "x' OR '1'='1",
    'x"; DROP TABLE api_keys; --',
    "nul\x00inside",
    "\ud800",
    "%s{}",
    "x" * 1_000_000,
    "",
]


def made_of(name: str) -> NewKey | None:
    """A key with this text in every field; None where it is refused."""
    try:
        return NewKey(name=name, note=name, models=(name,))
    except ValueError:
        return None


@pytest.fixture
def store(place: Place) -> Iterator[KeyStore]:
    store = KeyStore(place)
    yield store
    store.close()


def test_a_created_key_is_read_again_as_it_was_made(store: KeyStore) -> None:
    wanted = NewKey(
        name="ci", note="nightly ✓", role="admin", models=("a/b", "c"), requests_per_minute=10,
        concurrent=2, expires_at=NOW + 60, dialect="node",
    )  # fmt: skip
    key, secret = store.create(wanted, NOW)
    assert store.list() == [key]
    for field in (
        "name", "note", "role", "models", "requests_per_minute", "concurrent", "expires_at",
        "dialect",
    ):  # fmt: skip
        assert getattr(key, field) == getattr(wanted, field), field
    assert (key.created_at, key.revoked_at, key.rotated_at, key.last_used_at) == (NOW, *[None] * 3)
    assert secret.startswith(key.hint.removesuffix("…"))
    found = store.snapshot().find(secret.encode(), NOW)
    assert (found.key, found.reason) == (key, None)


def test_secrets_are_all_different_and_stored_nowhere(store: KeyStore, place: Place) -> None:
    secrets = {store.create(NewKey(name=f"k{n}"), NOW)[1] for n in range(20)}
    assert len(secrets) == 20
    assert all(len(secret) == 52 for secret in secrets)  # 43 characters of base64: 256 bits
    if place.file is not None:
        for file in place.file.parent.iterdir():
            stored = file.read_bytes()
            assert not any(secret.encode() in stored for secret in secrets), file


def test_a_name_is_one_keys_until_that_is_revoked(store: KeyStore) -> None:
    first, _ = store.create(NewKey(name="ci"), NOW)
    with pytest.raises(NameTaken, match="'ci'"):
        store.create(NewKey(name="ci"), NOW)
    store.revoke("ci", NOW + 1)
    second, _ = store.create(NewKey(name="ci"), NOW + 2)
    assert second.id != first.id
    assert [key.status(NOW + 3) for key in store.list()] == ["revoked", "active"]
    assert store.revoke("ci", NOW + 4).id == second.id


def test_a_revoked_key_opens_nothing_ever_again(store: KeyStore) -> None:
    key, secret = store.create(NewKey(name="ci"), NOW)
    assert store.revoke(key.id, NOW + 5).revoked_at == NOW + 5
    assert store.revoke(key.id, NOW + 9).revoked_at == NOW + 5
    assert store.snapshot().find(secret.encode(), NOW + 5).reason == "revoked"
    with pytest.raises(KeyIsRevoked):
        store.rotate(key.id, NOW + 9, 0)
    with pytest.raises(NoSuchKey):
        store.rotate("ci", NOW + 9, 0)


def test_rotation_ends_the_old_secret_after_its_grace(store: KeyStore) -> None:
    made, first = store.create(NewKey(name="ci", role="admin"), NOW)
    key, second = store.rotate("ci", NOW + 10, 100)
    assert (key.id, key.role, key.rotated_at) == (made.id, "admin", NOW + 10)
    assert second.startswith(key.hint.removesuffix("…"))
    snapshot = store.snapshot()
    assert snapshot.find(first.encode(), NOW + 109).reason is None
    assert snapshot.find(first.encode(), NOW + 110).reason == "replaced"
    assert snapshot.find(second.encode(), NOW + 10**6).reason is None
    # A later rotation with a longer grace does not bring an older secret more time.
    _, third = store.rotate("ci", NOW + 20, 1000)
    snapshot = store.snapshot()
    assert snapshot.find(first.encode(), NOW + 110).reason == "replaced"
    assert snapshot.find(second.encode(), NOW + 1019).reason is None
    # And one without grace ends both at once.
    _, fourth = store.rotate("ci", NOW + 30, 0)
    snapshot = store.snapshot()
    for old in (first, second, third):
        assert snapshot.find(old.encode(), NOW + 30).reason == "replaced"
    assert snapshot.find(fourth.encode(), NOW + 30).reason is None


def test_an_adopted_secret_opens_as_its_holders_know_it(store: KeyStore, place: Place) -> None:
    old = "aB3dE5fG7hJ9kL1mN2pQ"  # as Local-LLM-API made them
    key = store.adopt(NewKey(name="002", dialect="local_llm"), old, NOW)
    assert store.snapshot().find(old.encode(), NOW).key == key
    assert store.snapshot().find(f"sk-{old}".encode(), NOW).reason == "unknown"
    assert key.hint == "…"
    for number, given in enumerate(("sk-0123456789abcdefghij", "9876543210zyxwvutsrq")):
        key = store.adopt(NewKey(name=f"001-{number}"), given, NOW, with_sk=True)
        bare = given.removeprefix("sk-")
        for form in (bare, f"sk-{bare}"):
            assert store.snapshot().find(form.encode(), NOW).key == key, form
    for taken in (old, "0123456789abcdefghij"):
        with pytest.raises(SecretTaken):
            store.adopt(NewKey(name="again"), taken, NOW)
    _, secret = store.rotate("001-0", NOW + 1, 0)
    snapshot = store.snapshot()
    assert snapshot.find(b"sk-0123456789abcdefghij", NOW + 1).reason == "replaced"
    assert snapshot.find(b"0123456789abcdefghij", NOW + 1).reason == "replaced"
    assert snapshot.find(secret.encode(), NOW + 1).reason is None
    assert len(store.list()) == 3


@pytest.mark.parametrize(
    "secret",
    ["YOUR-API-KEY-HERE", "foo", "", "x" * 40, "with spaces in its middle", "schlüssel" * 3],
)
@pytest.mark.parametrize("with_sk", [False, True])
def test_what_anybody_could_guess_is_not_adopted(
    store: KeyStore, secret: str, with_sk: bool
) -> None:
    forms = [secret, f"sk-{secret}"] if with_sk else [secret]
    for form in forms:
        with pytest.raises(ValueError, match=r"^the secret ") as caught:
            store.adopt(NewKey(name="x"), form, NOW, with_sk=with_sk)
        assert not secret or secret not in str(caught.value)
    assert store.list() == []


def test_a_replaced_secret_is_forgotten_in_the_end(store: KeyStore) -> None:
    _, first = store.create(NewKey(name="ci"), NOW)
    _, second = store.rotate("ci", NOW, 0)
    store.rotate("ci", NOW + 90 * 86_400 - 1, 0)
    assert store.snapshot().find(first.encode(), NOW).reason == "replaced"
    store.rotate("ci", NOW + 90 * 86_400, 0)
    assert store.snapshot().find(first.encode(), NOW).reason == "unknown"
    assert store.snapshot().find(second.encode(), NOW + 91 * 86_400).reason == "replaced"


def test_an_unchanged_database_is_not_read_again_and_a_changed_one_is(store: KeyStore) -> None:
    snapshots = [store.snapshot()]
    assert store.snapshot(snapshots[-1]) is snapshots[-1]
    for change in (
        lambda: store.create(NewKey(name="ci"), NOW),
        lambda: store.rotate("ci", NOW, 0),
        lambda: store.revoke("ci", NOW),
    ):
        change()
        snapshots.append(store.snapshot(snapshots[-1]))
        assert snapshots[-1] is not snapshots[-2]
        assert store.snapshot(snapshots[-1]) is snapshots[-1]
    before = snapshots[-1]
    store.note_use({next(iter(before.keys)): NOW})
    assert store.snapshot(before) is before, "last use alone makes no server read all keys anew"


def test_last_use_never_goes_back(store: KeyStore) -> None:
    key, _ = store.create(NewKey(name="ci"), NOW)
    store.note_use({key.id: NOW + 50, "key_0000000000000000": NOW})
    store.note_use({key.id: NOW + 40})
    assert store.list()[0].last_used_at == NOW + 50
    store.note_use({})


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_refused_or_only_a_name(store: KeyStore, name: str) -> None:
    kept, _ = store.create(NewKey(name="kept"), NOW)
    with pytest.raises(NoSuchKey):
        store.revoke(name, NOW)
    wanted = made_of(name)
    if wanted is not None:
        key, _ = store.create(wanted, NOW)
        assert (key.name, key.note, key.models) == (name, name, (name,))
        assert store.revoke(name, NOW).id == key.id
    assert (wanted is None) == (not name or not name.isprintable() or len(name) > 100)
    assert kept in store.list()


def test_writers_at_the_same_time_lose_nothing(place: Place) -> None:
    """Each with connections of its own, from an empty database on, as several processes would."""
    made: list[str] = []

    def work(writer: int) -> None:
        store = KeyStore(place)
        for number in range(5):
            key, _ = store.create(NewKey(name=f"{writer}-{number}"), NOW)
            made.append(key.id)
        store.close()

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    store = KeyStore(place)
    assert sorted(made) == sorted(key.id for key in store.list())
    assert len(made) == 30
    assert store.snapshot().version == 30
    store.close()
