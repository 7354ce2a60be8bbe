"""The watcher: begins again where kopf fails, ever more slowly, and watches the kinds there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import kopf
import pytest

from berth.controller.kinds import NODE, NODE_CLAIM, POD, Kind
from berth.controller.watch import Backoffs, Watcher

Operator = Callable[..., Awaitable[None]]


class Kopf:
    """In the place of kopf.operator: keeps what it was started with, and does what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run: Operator) -> None:
        self.starts: list[dict[str, Any]] = []
        self._run = run
        monkeypatch.setattr(kopf, "operator", self.operator)

    async def operator(self, **given: Any) -> None:
        self.starts.append(given)
        await self._run(**given)


class Answer(Exception):
    """As kopf raises an answer that is no success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answered {status}")
        self.status = status


async def until_stopped(stop_flag: asyncio.Event, **_: Any) -> None:
    await stop_flag.wait()


async def failing(**_: Any) -> None:
    raise PermissionError("pods is forbidden")


def watcher(kinds: Callable[[], tuple[Kind, ...]], namespaces: tuple[str, ...] = ()) -> Watcher:
    return Watcher(kinds=kinds, namespaces=namespaces, client=None, deliver=lambda *_: None)


async def _poll(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a list that another thread fills
            await asyncio.sleep(0.01)


def test_begins_again_where_kopf_fails_and_waits_longer_each_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        if seconds > 0.5:
            pauses.append(seconds)
        await sleep(0.001)

    monkeypatch.setattr("berth.controller.watch.asyncio.sleep", slept)
    fake = Kopf(monkeypatch, failing)

    async def main() -> None:
        one = watcher(lambda: (POD,))
        task = asyncio.create_task(one.run())
        await _poll(lambda: len(fake.starts) >= 9)
        one.stop()
        await task

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert "watching failed and begins again: pods is forbidden" in caplog.text
    wanted = [1, 2, 4, 8, 16, 32, 60, 60]
    for pause, middle in zip(pauses[:8], wanted, strict=True):
        assert middle * 0.74 < pause < middle * 1.26


def test_a_restart_watches_the_kinds_that_there_are_then(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Kopf(monkeypatch, until_stopped)
    there: list[Kind] = [NODE]

    async def main() -> None:
        one = watcher(lambda: tuple(there))
        task = asyncio.create_task(one.run())
        await _poll(lambda: len(fake.starts) == 1)
        there.append(NODE_CLAIM)
        one.restart()
        await _poll(lambda: len(fake.starts) == 2)
        assert one.watching
        one.stop()
        await task
        assert not one.watching

    asyncio.run(main())
    watched = [
        {handler.selector.plural for handler in start["registry"]._watching.get_all_handlers()}
        for start in fake.starts
    ]
    assert watched == [{"nodes"}, {"nodes", "nodeclaims"}]


@pytest.mark.parametrize("namespaces", [(), ("a", "b")])
def test_all_namespaces_or_the_named_ones(
    monkeypatch: pytest.MonkeyPatch, namespaces: tuple[str, ...]
) -> None:
    fake = Kopf(monkeypatch, until_stopped)

    async def main() -> None:
        one = watcher(lambda: (POD,), namespaces)
        task = asyncio.create_task(one.run())
        await _poll(lambda: len(fake.starts) == 1)
        one.stop()
        await task

    asyncio.run(main())
    (start,) = fake.starts
    assert (start["clusterwide"], start["namespaces"]) == (not namespaces, namespaces)


def test_kopf_has_only_handlers_that_write_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Kopf(monkeypatch, until_stopped)

    async def main() -> None:
        one = watcher(lambda: (POD, NODE))
        task = asyncio.create_task(one.run())
        await _poll(lambda: len(fake.starts) == 1)
        one.stop()
        await task

    asyncio.run(main())
    (start,) = fake.starts
    registry, settings = start["registry"], start["settings"]
    for writing in ("_changing", "_spawning", "_indexing", "_webhooks"):
        assert list(getattr(registry, writing).get_all_handlers()) == []
    assert settings.posting.enabled is False
    assert start["standalone"] is True


@pytest.mark.parametrize(
    "error",
    [TimeoutError(), ConnectionResetError(), aiohttp.ServerDisconnectedError(), Answer(503)],
)
def test_a_server_that_is_away_is_asked_each_second_and_what_went_is_listed(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """faults K.2: after an outage of minutes the pause was half a minute."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        if seconds > 0.5:
            pauses.append(seconds)
        await sleep(0.001)

    async def away(**_: Any) -> None:
        raise error

    monkeypatch.setattr("berth.controller.watch.asyncio.sleep", slept)
    fake = Kopf(monkeypatch, away)
    missed: list[None] = []

    async def main() -> None:
        one = Watcher(
            kinds=lambda: (POD,),
            namespaces=(),
            client=None,
            deliver=lambda *_: None,
            missed=lambda: missed.append(None),
        )
        task = asyncio.create_task(one.run())
        await _poll(lambda: len(fake.starts) >= 7)
        one.stop()
        await task

    asyncio.run(main())
    assert all(0.74 < pause < 1.26 for pause in pauses[:6])
    assert len(missed) >= 6


def test_kopf_tries_a_request_each_second_for_half_a_minute() -> None:
    for _ in range(3):
        pauses = list(Backoffs())
        assert len(pauses) == 30
        assert all(0.75 <= pause <= 1.25 for pause in pauses)


def test_a_kind_that_is_listed_again_is_asked_for_what_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After 410 kopf hands over what there is, each of type None, and tells of nothing deleted."""
    now = [100.0]
    monkeypatch.setattr("berth.controller.watch.monotonic", lambda: now[0])
    seen: list[tuple[float, str]] = []
    missed: list[float] = []

    async def listing(registry: kopf.OperatorRegistry, stop_flag: asyncio.Event, **_: Any) -> None:
        (handler,) = registry._watching.get_all_handlers()
        for at, kind in ((100, None), (101, None), (110, "MODIFIED"), (120, None), (121, None)):
            now[0] = at
            event = {"type": kind, "object": {"metadata": {"name": f"p{at}"}}}
            await handler.fn(event=event)
        await stop_flag.wait()

    Kopf(monkeypatch, listing)

    async def main() -> None:
        one = Watcher(
            kinds=lambda: (POD,),
            namespaces=(),
            client=None,
            deliver=lambda kind, what, obj: seen.append((now[0], what)),
            missed=lambda: missed.append(now[0]),
        )
        task = asyncio.create_task(one.run())
        await _poll(lambda: len(seen) == 5)
        one.stop()
        await task

    asyncio.run(main())
    assert len(missed) == 1, "once for the listing at 120, not for its second object"
