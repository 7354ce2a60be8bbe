"""What the tests of this room share: a loop with a deadline, and a service on the fake engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from fake_engine import FAKE_ENGINE

from berth.protocol.config import EngineConfig
from berth.protocol.messages import EngineStats, Ready
from berth.serving.launch import LaunchConfig
from berth.serving.model_service import ModelService
from berth.serving.observer import NullObserver, RequestRecord
from berth.serving.open_model import open_model

T = TypeVar("T")
DEADLINE = 30.0


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(main, 2 * DEADLINE))


async def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> None:
    """Wait for `condition`, looking every few milliseconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


class Recorder(NullObserver):
    """Remembers what a service tells."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.finished: list[RequestRecord] = []
        self.stats: list[EngineStats] = []
        self.tokens = 0
        self.first_tokens: list[float] = []
        self.gaps: list[float] = []
        self.ready: list[Ready] = []
        self.deaths: list[str] = []

    def request_started(self, prompt_tokens: int) -> None:
        self.started.append(prompt_tokens)

    def request_finished(self, record: RequestRecord) -> None:
        self.finished.append(record)

    def step(self, stats: EngineStats, tokens: int, first_tokens: Any, gaps: Any) -> None:
        self.stats.append(stats)
        self.tokens += tokens
        self.first_tokens += first_tokens
        self.gaps += gaps

    def engine_ready(self, ready: Ready) -> None:
        self.ready.append(ready)

    def engine_died(self, reason: str) -> None:
        self.deaths.append(reason)

    async def until_tokens(self, count: int) -> None:
        await until(lambda: self.tokens >= count)

    async def until_deaths(self, count: int) -> None:
        await until(lambda: len(self.deaths) == count)


def make_service(
    folder: Path,
    *engine_options: str,
    observer: Recorder | None = None,
    launch: dict[str, Any] | None = None,
    engine: dict[str, Any] | None = None,
    script: Path | None = None,
    **serving: Any,
) -> ModelService:
    """A service of `folder` on the fake engine with `engine_options`; not started.

    `script` is started in place of the fake engine, which is its first argument.
    """
    before = () if script is None else (str(script),)
    settings = {"first_backoff": 0.05, **(launch or {})}
    config = open_model(
        EngineConfig(model=str(folder), socket="", heartbeat_seconds=0.1, **(engine or {})),
        model_id="tiny",
        launch=LaunchConfig(engine_argv=(*before, FAKE_ENGINE, *engine_options), **settings),
        **serving,
    )
    return ModelService(config, observer)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *engine_options: str, **settings: Any
) -> AsyncIterator[ModelService]:
    """A service that is ready, and stopped at the end. Arguments as for make_service."""
    service = make_service(folder, *engine_options, **settings)
    service.start()
    try:
        await until(lambda: service.health().ready)
        yield service
    finally:
        await service.drain(0)


def journal(path: Path) -> list[dict[str, Any]]:
    """What the fake engines wrote into their journal."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but unburied does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
