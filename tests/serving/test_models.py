"""Which service answers a request, by the model's name and by what the request needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from helpers import run, until

from berth.serving.errors import EngineFailed, ModelNotFound, TimedOut, Unavailable
from berth.serving.models import Model, Models
from berth.serving.service import Health


def stays(end: Callable[[], None]) -> None:
    """These models stay: nothing has to be told when a request is over."""
    raise AssertionError("an end is asked for")


class Engine:
    """A service that is what the test says it is."""

    def __init__(self, name: str = "m", state: str = "ready", generates: bool = False) -> None:
        self.model_id = name
        self.max_model_len = len(name)
        self.generates = generates
        self.state = state
        self.starts = 0
        self.drained: list[float] = []
        self._settled = asyncio.Event()
        self._failed = asyncio.Event()

    def health(self) -> Health:
        return Health(self.state, "", self.state == "ready")  # type: ignore[arg-type]

    def check_open(self) -> None:
        if self.state != "ready":
            raise Unavailable("not now")

    def start(self) -> None:
        self.starts += 1

    def becomes(self, state: str) -> None:
        self.state = state
        self._settled.set()
        if state == "failed":
            self._failed.set()

    async def settled(self) -> None:
        await self._settled.wait()

    async def failed(self) -> None:
        await self._failed.wait()

    async def unload(self) -> None:
        raise AssertionError("nothing is ended for another")

    async def drain(self, grace: float) -> None:
        self.drained.append(grace)
        self.becomes("draining")


def two(second: Engine) -> tuple[Models, Engine, Callable[[], int]]:
    """A native engine, with generate on `second` behind it; how often that one was made."""
    made = 0

    def make() -> Engine:
        nonlocal made
        made += 1
        return second

    first = Engine()
    return Models([Model(first, make)]), first, lambda: made


def test_a_name_an_alias_and_no_name_find_their_model() -> None:
    one, other = Engine("one"), Engine("other")
    models = Models([Model(one), Model(other)], aliases=["gpt-4"])
    assert models.names == ("one", "other", "gpt-4")
    assert models.get("other").service is other
    assert models.get("gpt-4").service is one
    assert models.get(None).service is models.get("").service is one
    assert models.max_model_len == 5
    with pytest.raises(ModelNotFound, match="The model `three` does not exist"):
        models.get("three")
    with pytest.raises(ModelNotFound) as refused:
        models.get("x" * 5000)
    assert len(str(refused.value)) < 200


def test_an_ordinary_request_starts_nothing() -> None:
    async def main() -> None:
        models, first, made = two(Engine())
        assert await models.acquire(seconds=1, at_end=stays) is first
        assert made() == 0

    run(main())


def test_an_engine_that_generates_itself_needs_no_second_one() -> None:
    async def main() -> None:
        only = Engine(generates=True)
        models = Models([Model(only)])
        assert models.default.generates
        assert await models.acquire(generate=True, seconds=1, at_end=stays) is only

    run(main())


def test_requests_that_need_generate_share_one_start_and_wait_for_it() -> None:
    async def main() -> None:
        second = Engine(state="loading")
        models, _, made = two(second)
        assert models.default.generates
        waiting = [
            asyncio.create_task(models.acquire(generate=True, seconds=20, at_end=stays))
            for _ in range(3)
        ]
        await until(lambda: second.starts)
        assert not any(task.done() for task in waiting)
        second.becomes("ready")
        assert await asyncio.gather(*waiting) == [second] * 3
        assert (made(), second.starts) == (1, 1)
        assert await models.acquire(generate=True, seconds=1, at_end=stays) is second

    run(main())


def test_a_start_that_takes_longer_than_the_request_may_is_its_timeout() -> None:
    async def main() -> None:
        second = Engine(state="loading")
        models, _, _ = two(second)
        with pytest.raises(TimedOut, match=r"did not start within 0\.01 s"):
            await models.acquire(generate=True, seconds=0.01, at_end=stays)
        second.becomes("ready")  # it went on loading, for the next request
        assert await models.acquire(generate=True, seconds=1, at_end=stays) is second

    run(main())


def test_a_second_engine_that_cannot_run_is_said_at_once() -> None:
    async def main() -> None:
        second = Engine(state="loading")
        models, first, _ = two(second)
        waiting = asyncio.create_task(models.acquire(generate=True, seconds=20, at_end=stays))
        await until(lambda: second.starts)
        second.becomes("failed")
        with pytest.raises(EngineFailed):
            await waiting
        assert await models.acquire(seconds=1, at_end=stays) is first
        assert models.health().ready

    run(main())


def test_no_second_engine_is_started_while_the_model_itself_is_not_there() -> None:
    async def main() -> None:
        models, first, made = two(Engine())
        first.state = "loading"
        with pytest.raises(Unavailable):
            await models.acquire(generate=True, seconds=1, at_end=stays)
        first.state = "ready"
        await models.drain(0)
        first.state = "ready"
        with pytest.raises(Unavailable, match="shutting down"):
            await models.acquire(generate=True, seconds=1, at_end=stays)
        assert made() == 0

    run(main())


def test_a_drain_ends_every_engine_and_those_who_wait_for_one() -> None:
    async def main() -> None:
        second = Engine(state="loading")
        models, first, _ = two(second)
        waiting = asyncio.create_task(models.acquire(generate=True, seconds=20, at_end=stays))
        await until(lambda: second.starts)
        await models.drain(3)
        assert (first.drained, second.drained) == ([3], [3])
        with pytest.raises(Unavailable, match="shutting down"):
            await waiting

    run(main())


def test_one_model_that_cannot_run_is_heard_of() -> None:
    async def main() -> None:
        one, other = Engine("one"), Engine("other")
        models = Models([Model(one), Model(other)])
        models.start()
        assert (one.starts, other.starts) == (1, 1)
        failed = asyncio.create_task(models.failed())
        await asyncio.sleep(0)
        other.becomes("failed")
        await failed

    run(main())
