"""Models are loaded when a request names them, and ended for others: on services that say so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from answers import ENDLESS
from helpers import Recorder, alive, journal, make_service, run, until

from berth.serving.errors import EngineFailed, Overloaded, TimedOut, Unavailable
from berth.serving.models import Model
from berth.serving.on_demand import OnDemandModels
from berth.serving.prompt import Prompt
from berth.serving.request import Options
from berth.serving.service import Health, Service
from berth.serving.turns import Candidate, Limits

QUICK = {"turn_seconds": 0.0, "quiet_seconds": 0.0}


class Engine:
    """A service whose loads and ends take as long as the test says."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.model_id, self.max_model_len, self.generates = name, 8, False
        self.state = "starting"
        self._log = log
        self._new()

    def _new(self) -> None:
        self._settled, self._failed = asyncio.Event(), asyncio.Event()

    def health(self) -> Health:
        return Health(self.state, f"It is {self.state}.", self.state == "ready")  # type: ignore[arg-type]

    def check_open(self) -> None:
        if self.state != "ready":
            raise Unavailable("not now")

    def start(self) -> None:
        self._log.append(f"start {self.model_id}")
        self.state = "loading"

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
        self.state = "starting"
        self._new()
        await asyncio.sleep(0)
        self._log.append(f"end {self.model_id}")

    async def drain(self, grace: float) -> None:
        self._log.append(f"drain {self.model_id}")


class Server:
    """Three models, and requests for them."""

    def __init__(self, limits: Limits, pinned: str = "") -> None:
        self.log: list[str] = []
        self.engines = {name: Engine(name, self.log) for name in "abc"}
        self.models = OnDemandModels(
            [Model(engine) for engine in self.engines.values()],  # type: ignore[arg-type]
            [Candidate(name=name, pinned=name in pinned) for name in "abc"],
            limits,
            aliases=["gpt-4"],
        )
        self.models.start()

    def ask(self, name: str | None, seconds: float = 20) -> Request:
        return Request(self, name, seconds)

    async def load(self, name: str) -> None:
        await until(lambda: self.engines[name].state == "loading")
        self.engines[name].becomes("ready")


class Request:
    """One call: its service, and its end."""

    def __init__(self, server: Server, name: str | None, seconds: float) -> None:
        self._ends: list[Callable[[], None]] = []
        models = server.models
        acquire = models.acquire(name, seconds=seconds, at_end=self._ends.append)
        self.task: asyncio.Task[Service] = asyncio.create_task(acquire)

    async def service(self) -> Service:
        return await self.task

    def end(self) -> None:
        for end in self._ends:
            end()


async def turns_of_the_loop() -> None:
    """Let happen what is going to: nothing here waits for a clock."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_first_request_loads_its_model_and_others_share_it() -> None:
    async def main() -> None:
        server = Server(Limits())
        assert server.models.health().ready
        assert server.models.waits("a")
        first, second, other = server.ask("a"), server.ask(None), server.ask("gpt-4")
        await server.load("a")
        services = [await request.service() for request in (first, second, other)]
        assert services == [server.engines["a"]] * 3
        assert not server.models.waits("a")
        assert server.log == ["start a"]

    run(main())


def test_a_model_is_ended_for_another_when_its_requests_are_over() -> None:
    async def main() -> None:
        server = Server(Limits(max_loaded=1, **QUICK))
        one, two = server.ask("a"), server.ask("a")
        await server.load("a")
        await one.service(), await two.service()
        other = server.ask("b")
        one.end()
        late = server.ask("a")  # behind b: a is closed
        await turns_of_the_loop()
        assert server.log == ["start a"]
        two.end()
        await server.load("b")
        assert await other.service() is server.engines["b"]
        assert server.log == ["start a", "end a", "start b"]
        assert not late.task.done()
        other.end()
        await server.load("a")
        assert await late.service() is server.engines["a"]

    run(main())


def test_an_idle_model_ends_after_its_time() -> None:
    async def main() -> None:
        server = Server(Limits(keep_alive=0.05), pinned="b")
        await server.load("b")
        request = server.ask("a")
        await server.load("a")
        await request.service()
        request.end()
        await until(lambda: server.log[-1] == "end a")
        assert server.log == ["start b", "start a", "end a"]

    run(main())


def test_a_request_waits_no_longer_than_its_time_and_then_is_forgotten() -> None:
    async def main() -> None:
        server = Server(Limits(max_loaded=1, **QUICK))
        held = server.ask("a")
        await server.load("a")
        await held.service()
        late = server.ask("b", seconds=0.02)
        with pytest.raises(TimedOut, match=r"b was not loaded within 0\.02 s"):
            await late.service()
        late.end()
        assert not server.models.waits("a")  # open again
        held.end()
        await turns_of_the_loop()
        assert server.log == ["start a"]  # nothing is ended for a request that is over

    run(main())


def test_a_request_that_is_given_up_while_it_waits_loads_nothing() -> None:
    async def main() -> None:
        server = Server(Limits(max_loaded=1, **QUICK))
        held = server.ask("a")
        await server.load("a")
        await held.service()
        gone = server.ask("b")
        await turns_of_the_loop()
        gone.task.cancel()
        await asyncio.wait([gone.task])
        gone.end()
        held.end()
        await turns_of_the_loop()
        assert server.log == ["start a"]

    run(main())


def test_more_than_may_wait_are_told_to_come_again() -> None:
    async def main() -> None:
        server = Server(Limits(max_waiting=1))
        first, second = server.ask("a"), server.ask("b")
        with pytest.raises(Overloaded, match=r"As many requests as may \(1\) wait") as refused:
            await second.service()
        assert refused.value.retry_after > 0
        second.end()
        await server.load("a")
        assert await first.service() is server.engines["a"]

    run(main())


def test_a_load_that_fails_is_said_to_those_who_wait_and_soon_after() -> None:
    async def main() -> None:
        server = Server(Limits(max_loaded=1))
        waiting = [server.ask("a"), server.ask("a"), server.ask("b")]
        await until(lambda: server.log == ["start a"])
        server.engines["a"].becomes("failed")
        for request in waiting[:2]:
            with pytest.raises(EngineFailed, match=r"model a cannot be served\. It is failed\."):
                await request.service()
            request.end()
        await server.load("b")
        assert await waiting[2].service() is server.engines["b"]
        with pytest.raises(Unavailable, match="model a cannot be served") as soon:
            await server.ask("a").service()
        assert 0 < soon.value.retry_after <= 15
        assert server.log == ["start a", "end a", "start b"]
        assert server.models.health().ready

    run(main())


def test_a_pinned_model_is_loaded_first_and_heard_of_when_it_cannot_run() -> None:
    async def main() -> None:
        server = Server(Limits(), pinned="a")
        failed = asyncio.create_task(server.models.failed())
        await server.load("a")
        await until(lambda: server.models.health().ready)
        server.engines["a"].becomes("failed")
        await failed

    run(main())


def test_a_server_is_not_ready_before_its_pinned_models_are() -> None:
    async def main() -> None:
        server = Server(Limits(), pinned="a")
        await until(lambda: server.log == ["start a"])
        assert not server.models.health().ready
        server.engines["a"].becomes("ready")
        assert server.models.health().ready

    run(main())


def test_a_drain_ends_all_and_answers_those_who_wait() -> None:
    async def main() -> None:
        server = Server(Limits())
        waiting = server.ask("a")
        await until(lambda: server.log == ["start a"])
        await server.models.drain(0)
        with pytest.raises(Unavailable, match="shutting down"):
            await waiting.service()
        waiting.end()
        with pytest.raises(Unavailable, match="shutting down"):
            await server.ask("b").service()
        assert server.log == ["start a", "drain a", "drain b", "drain c"]

    run(main())


def test_a_service_that_was_unloaded_loads_again_in_a_new_process(
    meta_model: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        recorder = Recorder()
        log = tmp_path / "journal"
        service = make_service(meta_model, "--journal", str(log), observer=recorder)
        pids = []
        for _ in range(2):
            service.start()
            await service.settled()
            assert service.health().ready
            answer = service.submit(Prompt([1, 5]), Options(max_tokens=3), request_id="r")
            assert (await answer.answer()).finish_reason == "length"
            pids += service.engine_pids().values()
            running = service.submit(Prompt([1, 5]), ENDLESS, request_id="r")
            await service.unload()
            with pytest.raises(Unavailable, match="unloaded"):
                await running.answer()
            with pytest.raises(Unavailable):
                service.encode("x")
        assert len(set(pids)) == 2
        assert not any(alive(pid) for pid in pids)
        assert recorder.deaths == []
        assert [entry["event"] for entry in journal(log)].count("submit") >= 2
        assert service.max_model_len > 0  # known from the last time
        await service.drain(0)

    run(main())
