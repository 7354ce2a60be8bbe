"""Turns in a session: in order, alone, kept once given, and out of the way when abandoned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from berth.server.sessions import Sessions, Turn
from berth.serving.errors import InvalidRequest, Unavailable
from berth.store.errors import StoreError
from berth.store.place import Place
from berth.store.sessions import SessionStore
from berth.store.window import Exchange, Room

ROOM = Room(5)


def said(text: str) -> Exchange:
    return Exchange(asked=text, answered=text.upper(), tokens=2, created_at=1_800_000_000)


def with_sessions(tmp_path: Path, work: Callable[[Sessions], Awaitable[None]]) -> list[str]:
    """Run it over a new database; what was asked in session "1" of owner "ada" afterwards."""
    place = Place(file=tmp_path / "berth.db")

    async def main() -> None:
        sessions = Sessions(SessionStore(place))
        async with asyncio.timeout(30):
            await work(sessions)
        await sessions.close()

    asyncio.run(main())
    store = SessionStore(place)
    _, everything = store.window("ada", "1", Room())
    store.close()
    return [each.asked for each in everything]


def test_requests_to_one_session_take_their_turns_in_the_order_of_coming(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    async def ask(sessions: Sessions, text: str) -> None:
        async with sessions.turn("ada", "1", ROOM) as turn:
            seen.append([each.asked for each in turn.history])
            for _ in range(5):
                await asyncio.sleep(0)  # the answer takes its time
            await turn.keep(said(text))

    async def work(sessions: Sessions) -> None:
        await asyncio.gather(*(ask(sessions, text) for text in "abcdefgh"))

    assert with_sessions(tmp_path, work) == list("abcdefgh")
    assert seen == [list("abcdefgh"[max(0, at - 5) : at]) for at in range(8)]


def test_another_session_or_owner_does_not_wait(tmp_path: Path) -> None:
    async def work(sessions: Sessions) -> None:
        async with sessions.turn("ada", "1", ROOM):
            for owner, session_id in (("ada", "2"), ("bob", "1")):
                async with sessions.turn(owner, session_id, ROOM) as turn:
                    await turn.keep(said("x"))

    assert with_sessions(tmp_path, work) == []


def test_a_turn_without_an_answer_keeps_nothing_and_lets_the_next_one_in(tmp_path: Path) -> None:
    async def work(sessions: Sessions) -> None:
        with pytest.raises(KeyError):
            async with sessions.turn("ada", "1", ROOM):
                raise KeyError("the engine died")
        began = asyncio.Event()

        async def hang() -> None:
            async with sessions.turn("ada", "1", ROOM):
                began.set()
                await asyncio.Event().wait()

        async def wait() -> Turn:
            async with sessions.turn("ada", "1", ROOM) as turn:
                return turn

        hanging = asyncio.create_task(hang())
        await began.wait()
        abandoned, patient = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        for task in (abandoned, hanging):  # both clients hang up, one of them while it waits
            task.cancel()
        assert (await patient).history == []
        await asyncio.gather(hanging, abandoned, return_exceptions=True)
        assert sessions._locks == {}, "nothing is left of sessions that nobody uses"

    assert with_sessions(tmp_path, work) == []


def test_an_answer_that_was_given_is_kept_though_its_client_is_gone(tmp_path: Path) -> None:
    async def work(sessions: Sessions) -> None:
        async def ask() -> None:
            async with sessions.turn("ada", "1", ROOM) as turn:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
                await turn.keep(said("first"))

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(ask())
        async with sessions.turn("ada", "1", ROOM) as turn:
            assert [each.asked for each in turn.history] == ["first"], "the next turn has it"
            await turn.keep(said("second"))

    assert with_sessions(tmp_path, work) == ["first", "second"]


def test_another_server_that_was_faster_is_said_and_not_overwritten(tmp_path: Path) -> None:
    async def work(sessions: Sessions) -> None:
        other = SessionStore(Place(file=tmp_path / "berth.db"))
        async with sessions.turn("ada", "1", ROOM) as turn:
            other.append("ada", "1", said("theirs"))
            with pytest.raises(Unavailable, match="Another request has added"):
                await turn.keep(said("ours"))
        other.close()

    assert with_sessions(tmp_path, work) == ["theirs"]


def test_an_id_that_none_can_have_is_the_clients_fault(tmp_path: Path) -> None:
    async def work(sessions: Sessions) -> None:
        with pytest.raises(InvalidRequest, match="session_id must not be empty") as caught:
            async with sessions.turn("ada", "", ROOM):
                raise AssertionError
        assert caught.value.field == "session_id"

    assert with_sessions(tmp_path, work) == []


def test_a_database_that_fails_is_unavailable_and_blocks_nobody() -> None:
    class Broken:
        def window(self, *_: object) -> tuple[int, list[Exchange]]:
            raise StoreError("The database x cannot be used: disk I/O error.")

        def append(self, *_: object, after: int | None = None) -> int:
            raise AssertionError

        def close(self) -> None:
            pass

    async def main() -> None:
        sessions = Sessions(Broken())
        for _ in range(2):
            with pytest.raises(Unavailable, match="cannot be read at the moment"):
                async with sessions.turn("ada", "1", ROOM):
                    raise AssertionError
        assert sessions._locks == {}
        await sessions.close()

    asyncio.run(main())
