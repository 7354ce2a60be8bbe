"""Conversations in the database, of either kind: whole, in order, and each its owner's alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from berth.store.errors import NoSuchSession, SessionMoved
from berth.store.place import Place
from berth.store.sessions import SessionStore
from berth.store.window import Exchange, Room

NOW = 1_800_000_000
ADA, BOB = "key_aaaaaaaaaaaaaaaa", "key_bbbbbbbbbbbbbbbb"
HOSTILE = ["../../x", "constructor", "x' OR '1'='1", '"; DROP TABLE sessions; --', "%s", "ü✓"]
IMPOSSIBLE = ["", "nul\x00", "\ud800", "x" * 201, "x" * 1_000_000, "a\nb"]


def said(number: int, tokens: int = 10) -> Exchange:
    return Exchange(
        asked=f"question {number}", answered=f"answer {number}\n✓", tokens=tokens,
        created_at=NOW + number,
    )  # fmt: skip


@pytest.fixture
def store(place: Place) -> Iterator[SessionStore]:
    store = SessionStore(place)
    yield store
    store.close()


def test_the_whole_history_is_kept_and_the_window_is_its_end(store: SessionStore) -> None:
    history = [said(number) for number in range(1, 151)]
    for number, exchange in enumerate(history, start=1):
        assert store.append(ADA, "1", exchange, after=number - 1) == number
    session, everything = store.read(ADA, "1")
    assert everything == history
    assert (session.id, session.name, session.exchanges) == ("1", "question 1", 150)
    assert (session.created_at, session.updated_at) == (NOW + 1, NOW + 150)
    for room, shown in [
        (Room(5), 5), (Room(), 150), (Room(0), 0), (Room(100), 100), (Room(None, 1234), 123),
        (Room(5, 39), 3), (Room(1000), 150), (Room(None, 0), 0),
    ]:  # fmt: skip
        assert store.window(ADA, "1", room) == (150, history[150 - shown :])


def test_a_session_is_its_owners_alone(store: SessionStore) -> None:
    store.append(ADA, "1", said(1))
    store.append(BOB, "1", said(2))
    store.append("", "1", said(3))
    assert store.window(ADA, "1", Room())[1] == [said(1)]
    assert store.window(BOB, "1", Room())[1] == [said(2)]
    assert [session.name for session in store.list("")] == ["question 3"]
    store.append(ADA, "mine", said(4))
    for act in (store.read, store.delete):
        with pytest.raises(NoSuchSession):
            act(BOB, "mine")
    assert store.window(BOB, "mine", Room()) == (0, [])
    store.delete(ADA, "1")
    assert store.read(BOB, "1")[1] == [said(2)]


def test_sessions_are_listed_by_their_last_use(store: SessionStore) -> None:
    for number, session_id in enumerate(["a", "b", "c", "a"]):
        store.append(ADA, session_id, said(number))
    assert [(each.id, each.exchanges) for each in store.list(ADA)] == [("a", 2), ("c", 1), ("b", 1)]
    assert store.list(BOB) == []


def test_a_deleted_session_is_gone_and_its_id_begins_anew(store: SessionStore) -> None:
    for number in range(3):
        store.append(ADA, "1", said(number))
    store.delete(ADA, "1")
    assert store.list(ADA) == []
    for act in (store.read, store.delete):
        with pytest.raises(NoSuchSession):
            act(ADA, "1")
    assert store.append(ADA, "1", said(9), after=0) == 1
    assert store.read(ADA, "1")[1] == [said(9)]


def test_an_exchange_after_another_than_was_read_is_refused(store: SessionStore) -> None:
    store.append(ADA, "1", said(1), after=0)
    for after in (0, 2):
        with pytest.raises(SessionMoved):
            store.append(ADA, "1", said(2), after=after)
    with pytest.raises(SessionMoved):
        store.append(ADA, "new", said(2), after=1)
    assert store.read(ADA, "1")[1] == [said(1)]
    assert [session.id for session in store.list(ADA)] == ["1"]


@pytest.mark.parametrize("session_id", HOSTILE)
def test_a_hostile_id_is_only_an_id(store: SessionStore, session_id: str) -> None:
    store.append(ADA, "kept", said(1))
    store.append(ADA, session_id, said(2))
    assert store.read(ADA, session_id)[1] == [said(2)]
    store.delete(ADA, session_id)
    assert [session.id for session in store.list(ADA)] == ["kept"]


@pytest.mark.parametrize("session_id", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_what_no_id_can_be_is_refused_in_a_short_sentence(
    store: SessionStore, session_id: str
) -> None:
    for act in (
        lambda: store.append(ADA, session_id, said(1)),
        lambda: store.window(ADA, session_id, Room()),
    ):
        with pytest.raises(ValueError, match="session_id must") as caught:
            act()
        assert len(str(caught.value)) < 100
    for read in (store.read, store.delete):
        with pytest.raises(NoSuchSession):
            read(ADA, session_id)
    assert store.list(ADA) == []


@pytest.mark.parametrize("text", ["nul\x00", "\ud800"])
def test_a_text_that_cannot_be_stored_is_refused_whole(store: SessionStore, text: str) -> None:
    for values in ({"asked": text, "answered": "x"}, {"asked": "x", "answered": text}):
        with pytest.raises(ValueError, match="cannot be stored"):
            store.append(ADA, "1", Exchange(**values, tokens=1, created_at=NOW))
    assert store.list(ADA) == []


def test_two_servers_that_add_at_once_lose_and_double_nothing(place: Place) -> None:
    """Each with connections of its own; who comes second is told so and asks again."""
    moved: list[int] = []

    def work(writer: int) -> None:
        store = SessionStore(place)
        for number in range(8):
            while True:
                count, _ = store.window(ADA, "1", Room(0))
                try:
                    store.append(ADA, "1", said(100 * writer + number), after=count)
                    break
                except SessionMoved:
                    moved.append(writer)
        store.close()

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    store = SessionStore(place)
    session, everything = store.read(ADA, "1")
    store.close()
    wanted = [100 * writer + number for writer in range(3) for number in range(8)]
    assert sorted(each.created_at - NOW for each in everything) == wanted
    assert session.exchanges == 24
    for writer in range(3):
        own = [each for each in everything if (each.created_at - NOW) // 100 == writer]
        assert own == [said(100 * writer + number) for number in range(8)], "in their own order"
