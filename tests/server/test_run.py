"""A server process begins by answering and ends in good order."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fake_service import FakeService
from live_server import wait_until

from berth.server.lifecycle import Lifecycle
from berth.server.metrics import Metrics
from berth.server.run import CannotListen, listen, serve_models
from berth.server.settings import ServerSettings
from berth.serving.models import Model, Models
from berth.serving.service import Health

SCRIPT = Path(__file__).parent / "serve_fake.py"
STREAM = {"prompts": ["x"], "stream": True}


class Process:
    def __init__(self, scenario: str, grace: float) -> None:
        command = [sys.executable, str(SCRIPT), scenario, str(grace)]
        self.child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.child.stdout is not None
        self.out = self.child.stdout
        self.url = f"http://127.0.0.1:{self.out.readline().strip()}"

    def get(self, path: str) -> int:
        return httpx.get(self.url + path, timeout=10).status_code

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=30)

    def terminate(self) -> None:
        self.child.send_signal(signal.SIGTERM)

    def end(self) -> tuple[int, str]:
        """Exit code, and what was printed since the port."""
        code = self.child.wait(20)
        return code, self.out.read()


Starter = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Starter]:
    started: list[Process] = []

    def starter(scenario: str, grace: float = 20.0) -> Process:
        started.append(Process(scenario, grace))
        return started[-1]

    yield starter
    for process in started:
        if process.child.poll() is None:
            process.child.kill()
        process.child.wait(10)
        process.out.close()


def test_sigterm_finishes_what_runs_refuses_what_comes_and_exits_0(start: Starter) -> None:
    process = start("slow")
    with httpx.stream("POST", process.url + "/generate", json=STREAM, timeout=20) as reply:
        lines = reply.iter_lines()
        assert next(lines).startswith("data: ")
        process.terminate()
        wait_until(lambda: process.get("/readyz") == 503)
        assert process.get("/livez") == 200
        refused = process.post("/generate", STREAM)
        rest = [line for line in lines if line]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert '"finish_reason":"stop"' in rest[-2]
    assert rest[-1] == "data: [DONE]"
    assert process.end() == (0, "stopped\n")


def test_sigterm_ends_what_outlasts_the_grace_period(start: Starter) -> None:
    process = start("stuck", 0.3)
    with httpx.stream("POST", process.url + "/generate", json=STREAM, timeout=20) as reply:
        lines = reply.iter_lines()
        assert next(lines).startswith("data: ")
        process.terminate()
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert "detail" in rest[-2]
    assert process.end() == (0, "stopped\n")


def test_a_second_sigterm_does_not_wait(start: Starter) -> None:
    process = start("stuck", 60.0)
    with httpx.stream("POST", process.url + "/generate", json=STREAM, timeout=20) as reply:
        lines = reply.iter_lines()  # held: a collected iterator hangs up
        assert next(lines).startswith("data: ")
        process.terminate()
        wait_until(lambda: process.get("/readyz") == 503)
        began = time.monotonic()
        process.terminate()
        assert process.end() == (0, "stopped\n")
    assert time.monotonic() - began < 10


def test_the_server_answers_while_the_model_loads_and_sigterm_ends_it_at_once(
    start: Starter,
) -> None:
    process = start("loading", 60.0)
    assert process.get("/livez") == 200
    loading = httpx.get(process.url + "/readyz", timeout=10)
    assert (loading.status_code, loading.json()["progress"]) == (503, 0.25)
    began = time.monotonic()
    process.terminate()
    assert process.end() == (0, "stopped\n")
    assert time.monotonic() - began < 10


def test_post_shutdown_answers_and_then_ends_the_server(start: Starter) -> None:
    process = start("ready")
    reply = process.post("/shutdown", None)
    assert (reply.status_code, reply.json()) == (200, {})
    assert process.end() == (0, "stopped\n")


def test_a_model_that_cannot_start_ends_the_server_with_1(start: Starter) -> None:
    assert start("broken").end() == (1, "stopped\n")


def test_a_model_that_fails_for_good_ends_the_server_with_1() -> None:
    class Doomed(FakeService):
        drained_for: float | None = None

        def start(self) -> None:
            self.state = Health("failed", "The engine cannot run.", False)

        async def failed(self) -> None:
            """It is so from the start."""

        async def drain(self, grace: float) -> None:
            self.drained_for = grace

    service = Doomed()
    settings = ServerSettings(port=0)
    assert asyncio.run(serve_models(Models([Model(service)]), settings, Metrics())) == 1
    assert service.drained_for == 0


def test_a_taken_port_is_a_sentence() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        said = f"cannot listen on 127.0.0.1 port {port}: Address already in use; .* with --port"
        with pytest.raises(CannotListen, match=said):
            listen("127.0.0.1", port)
    with pytest.raises(CannotListen, match=r"0: Cannot .* address; --host takes an addr"):
        listen("192.0.2.77", 0)  # reserved for documentation


def test_a_drain_waits_for_the_last_call_and_no_longer_than_told() -> None:
    async def scenario() -> tuple[bool, bool]:
        lifecycle = Lifecycle()
        assert await lifecycle.idle(0.01)
        lifecycle.enter()
        lifecycle.enter()
        lifecycle.leave()
        early = await lifecycle.idle(0.01)
        asyncio.get_running_loop().call_later(0.01, lifecycle.leave)
        return early, await lifecycle.idle(10)

    assert asyncio.run(scenario()) == (False, True)
