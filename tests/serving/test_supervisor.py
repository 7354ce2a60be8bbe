"""An engine that dies, hangs or cannot start is found, ended, reported and started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_engine import FAKE_ENGINE
from helpers import alive, journal, run, until

from berth.protocol.config import EngineConfig
from berth.protocol.messages import (
    Fatal,
    Heartbeat,
    Ready,
    SamplingParams,
    StepReport,
    Submit,
)
from berth.protocol.wire import frame
from berth.serving.engine_life import EngineLife
from berth.serving.engine_link import RankLink
from berth.serving.launch import LaunchConfig
from berth.serving.supervisor import EngineSupervisor, engine_health


class Events:
    """Remembers what the supervisor tells."""

    def __init__(self) -> None:
        self.ready: list[float] = []
        self.reports: list[StepReport] = []
        self.lost: list[tuple[str, bool]] = []
        self.lost_at: list[float] = []
        self.down_at: list[float] = []
        self.given_up: list[str] = []

    def engine_ready(self, ready: Ready) -> None:
        self.ready.append(time.monotonic())

    async def until_ready(self, count: int) -> None:
        await until(lambda: len(self.ready) == count)

    def engine_step(self, report: StepReport) -> None:
        self.reports.append(report)

    def engine_down(self) -> None:
        self.down_at.append(time.monotonic())

    def engine_lost(self, reason: str, *, was_ready: bool) -> None:
        self.lost.append((reason, was_ready))
        self.lost_at.append(time.monotonic())

    def engine_given_up(self, reason: str) -> None:
        self.given_up.append(reason)


@contextlib.asynccontextmanager
async def supervised(
    *options: str, degree: int = 1, heartbeat: float = 0.1, **launch: Any
) -> AsyncIterator[tuple[EngineSupervisor, Events]]:
    """A supervisor of fake engines, started, and stopped at the end."""
    events = Events()
    settings = {"first_backoff": 0.02, "engine_argv": (FAKE_ENGINE, *options), **launch}
    supervisor = EngineSupervisor(
        LaunchConfig(**settings),
        EngineConfig(model="", socket="", degree=degree, heartbeat_seconds=heartbeat),
        events,
    )
    assert supervisor.state == "starting"
    supervisor.start()
    try:
        yield supervisor, events
    finally:
        await supervisor.stop()


def submit(supervisor: EngineSupervisor) -> None:
    supervisor.send(Submit(1, [1, 5], SamplingParams(max_tokens=10**6)))


def hang_times(folder: Path) -> list[float]:
    return [entry["time"] for entry in journal(folder / "journal") if entry["event"] == "hang"]


def test_loading_is_told_and_then_the_engine_answers() -> None:
    async def main() -> None:
        async with supervised("--load-seconds", "0.3") as (supervisor, events):
            fractions = set()

            def is_ready() -> bool:
                if supervisor.state == "loading":
                    fractions.add(supervisor.load_fraction())
                return supervisor.state == "ready"

            await until(is_ready)
            assert {0.0, 0.5} <= fractions
            submit(supervisor)
            await until(lambda: len(events.reports) > 2)
            pid = supervisor.pids()[0]
        assert not alive(pid)
        assert events.lost == []

    run(main())


def test_a_killed_engine_is_replaced_and_its_signal_named() -> None:
    async def main() -> None:
        async with supervised() as (supervisor, events):
            for life in (1, 2, 3):
                await events.until_ready(life)
                os.kill(supervisor.pids()[0], signal.SIGKILL)
                await until(lambda: len(events.lost) == len(events.ready))
                assert supervisor.state == "restarting"
            await until(lambda: supervisor.state == "ready")
            assert all(
                re.match(r"rank 0 \(process \d+\) was killed by SIGKILL", reason) and ready
                for reason, ready in events.lost
            )
            assert supervisor.deaths == 3

    run(main())


@pytest.mark.parametrize("kind", ["frozen", "silent", "stopped"])
def test_a_rank_that_hangs_or_is_stopped_is_gone_within_5_seconds(
    tmp_path: Path, kind: str
) -> None:
    """With the timeouts and the heartbeat of the real thing."""

    async def main() -> None:
        options = ["--journal", str(tmp_path / "journal")]
        if kind != "stopped":
            options += ["--hang-kind", kind, "--hang-after", "5"]
            options += ["--state", str(tmp_path / "state")]
        async with supervised(*options, heartbeat=0.5) as (supervisor, events):
            await until(lambda: events.ready)
            pid = supervisor.pids()[0]
            submit(supervisor)
            if kind == "stopped":
                await until(lambda: events.reports)
                began = time.monotonic()
                os.kill(pid, signal.SIGSTOP)
            else:
                await until(lambda: hang_times(tmp_path))
                began = hang_times(tmp_path)[0]
            await until(lambda: events.lost)
            assert not alive(pid)
            assert time.monotonic() - began < 5
            word = "no progress" if kind == "frozen" else "no heartbeat"
            assert word in events.lost[0][0]
            await until(lambda: len(events.ready) == 2)

    run(main())


def test_a_server_that_stood_still_accuses_nobody() -> None:
    async def main() -> None:
        async with supervised(silence_timeout=0.4) as (supervisor, events):
            await until(lambda: supervisor.state == "ready")
            for seconds in (0.3, 0.5, 1.0, 2.5):
                time.sleep(seconds)  # noqa: ASYNC251 - what the engine says meanwhile lies unread
                await asyncio.sleep(0.6)
            assert events.lost == []
            os.kill(supervisor.pids()[0], signal.SIGSTOP)
            await until(lambda: events.lost)
            assert "no heartbeat" in events.lost[0][0]

    run(main())


def test_an_engine_that_never_gets_ready_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        async with supervised("--exit-early", max_failed_starts=3) as (supervisor, events):
            await until(lambda: events.given_up)
            assert supervisor.state == "failed"
            reason = (
                "the engine process exited with status 3; its last line was: "
                "the fake engine exits early"
            )
            assert events.lost == [(reason, False)] * 3
            health = engine_health(supervisor, supervisor.state, "The engine cannot run.")
            assert health.detail == f"The engine cannot run: {reason}."

    run(main())
    said = [r.getMessage() for r in caplog.records if r.name == "berth.engine"]
    assert said == ["the fake engine exits early"] * 3


def test_pauses_between_starts_double() -> None:
    async def main() -> None:
        async with supervised("--exit-early", max_failed_starts=4, first_backoff=0.3) as (
            _,
            events,
        ):
            await until(lambda: events.given_up)
            first, second, third = (
                later - earlier
                for earlier, later in zip(events.lost_at, events.lost_at[1:], strict=False)
            )
            assert first < second < third
            assert second - first > 0.2
            assert third - second > 0.2

    run(main())


def test_what_a_fresh_start_cannot_mend_is_given_up_at_once() -> None:
    async def main() -> None:
        async with supervised("--fatal", "tensor x is missing in y") as (supervisor, events):
            await until(lambda: events.given_up)
            assert events.given_up == ["rank 0: tensor x is missing in y"]
            assert supervisor.state == "failed"
            assert supervisor.deaths == 1

    run(main())


def test_under_torchrun_a_rank_that_never_connected_is_named_with_its_last_line() -> None:
    async def main() -> None:
        async with supervised("--exit-early", degree=2, max_failed_starts=1) as (_, events):
            await until(lambda: events.given_up)
            assert re.fullmatch(
                r"rank [01] \(process \d+\) exited with status 3; its last line was: "
                "the fake engine exits early",
                events.given_up[0],
            )

    run(main())


def test_a_rank_that_never_connects_is_not_waited_for_forever() -> None:
    async def main() -> None:
        sleeper = ("-c", "import time; time.sleep(600)")
        async with supervised(engine_argv=sleeper, connect_timeout=0.3, max_failed_starts=1) as (
            _,
            events,
        ):
            await until(lambda: events.given_up)
            assert "no rank of the engine connected" in events.given_up[0]

    run(main())


@pytest.mark.parametrize("folder", ["missing", "x" * 100])
def test_without_a_place_for_the_socket_the_engine_is_given_up(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if folder != "missing":
        (tmp_path / folder).mkdir()  # a path longer than a socket's may be
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / folder))

    async def main() -> None:
        async with supervised() as (supervisor, events):
            await until(lambda: events.given_up)
            assert "socket" in events.given_up[0]
            assert supervisor.state == "failed"

    run(main())


def test_stopping_ends_an_engine_at_any_time() -> None:
    async def main() -> None:
        sleeper = ("-c", "import time; time.sleep(600)")
        async with supervised(engine_argv=sleeper) as (supervisor, events):
            await asyncio.sleep(0)  # it may not even have begun
        async with supervised(engine_argv=sleeper) as (supervisor, events):
            await asyncio.sleep(0.2)
        async with supervised("--exit-early", first_backoff=600.0) as (supervisor, events):
            await until(lambda: len(events.lost) == 2)  # now it pauses
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert supervisor.state != "failed"

    run(main())


def test_under_torchrun_a_lost_rank_takes_its_group_with_it() -> None:
    async def main() -> None:
        async with supervised(degree=2) as (supervisor, events):
            await until(lambda: supervisor.state == "ready" and len(supervisor.pids()) == 2)
            pids = supervisor.pids()
            began = time.monotonic()
            os.kill(pids[1], signal.SIGKILL)
            await until(lambda: events.lost)
            assert time.monotonic() - began < 5
            assert not alive(pids[0])
            # How it died is known only until torchrun has buried it.
            assert re.match(
                rf"rank 1 \(process {pids[1]}\) (was killed by SIGKILL|closed its connection)",
                events.lost[0][0],
            )
            await until(lambda: len(events.ready) == 2)

    run(main())


def test_an_engine_is_down_as_soon_as_a_connection_closes() -> None:
    """Its processes may take a while to be gone; nothing is sent to it meanwhile."""

    async def main() -> None:
        events = Events()
        life = EngineLife(LaunchConfig(), EngineConfig(model="", socket="/x", degree=2), events)
        links = [RankLink(life), RankLink(life)]
        for rank, link in enumerate(links):
            link.data_received(frame(Heartbeat(rank, 1, False)))
        links[1].connection_lost(None)
        assert life.down
        assert len(events.down_at) == 1
        links[0].connection_lost(None)
        assert len(events.down_at) == 1

    run(main())


def test_a_rank_that_is_ending_is_noticed_before_its_connection_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel frees its memory first; a probe that comes meanwhile must not hear 200."""
    ending: set[int] = set()
    monkeypatch.setattr("berth.serving.engine_life.is_ending", lambda pid: pid in ending)

    async def main() -> None:
        async with supervised() as (supervisor, events):
            await events.until_ready(1)
            supervisor.look()
            assert supervisor.state == "ready"
            ending.add(supervisor.pids()[0])
            supervisor.look()
            assert supervisor.state == "restarting"
            assert len(events.down_at) == 1

    run(main())


def test_why_an_engine_ended_at_its_first_start_is_told_while_it_is_tried_again() -> None:
    async def main() -> None:
        async with supervised("--exit-early", first_backoff=600.0) as (supervisor, events):
            await until(lambda: len(events.lost) == 2)
            assert supervisor.state == "starting"
            health = engine_health(supervisor, supervisor.state, "The engine is starting.")
            assert not health.ready
            assert health.detail == (
                "The engine is starting again. It ended 2 times before it was ready: the engine "
                "process exited with status 3; its last line was: the fake engine exits early."
            )

    run(main())


def test_what_has_run_is_tried_again_whatever_is_in_its_way(tmp_path: Path) -> None:
    """A fault that ends a first start at once: the memory of the last engine is not free yet."""
    flag = tmp_path / "in the way"
    script = tmp_path / "engine.py"
    script.write_text(
        "import os, runpy, sys\n"
        f"fatal = ['--fatal', 'no room'] if os.path.exists({str(flag)!r}) else []\n"
        f"sys.argv = [{FAKE_ENGINE!r}, *fatal, *sys.argv[1:]]\n"
        f"runpy.run_path({FAKE_ENGINE!r}, run_name='__main__')\n"
    )

    async def main() -> None:
        argv = (str(script),)
        async with supervised(engine_argv=argv, max_failed_starts=9) as (supervisor, events):
            await events.until_ready(1)
            flag.touch()
            os.kill(supervisor.pids()[0], signal.SIGKILL)
            await until(lambda: len(events.lost) == 3)
            assert events.lost[2] == ("rank 0: no room", False)
            assert supervisor.state == "restarting"
            flag.unlink()
            await events.until_ready(2)
            assert events.given_up == []

    run(main())


def test_a_rank_that_died_is_named_and_not_those_that_noticed() -> None:
    async def main() -> None:
        life = EngineLife(
            LaunchConfig(), EngineConfig(model="", socket="/nowhere", degree=2), Events()
        )
        links = [RankLink(life), RankLink(life)]
        for rank, link in enumerate(links):
            link.data_received(frame(Heartbeat(rank, 1, False)))
        links[0].data_received(frame(Fatal(0, "connection reset by peer", retry=True)))
        links[0].connection_lost(None)
        links[1].connection_lost(None)
        fault = await life._fault
        assert str(fault) == "rank 1 (process None) closed its connection"

    run(main())


def test_a_further_nodes_ranks_are_ready_when_they_are_loaded() -> None:
    """Started directly: two ranks of a second node, which say no Ready."""
    starter = (
        "import os, subprocess, sys\n"
        "ranks = [subprocess.Popen([sys.executable, *sys.argv[1:]], "
        "env=dict(os.environ, RANK=str(rank))) for rank in (2, 3)]\n"
        "[rank.wait() for rank in ranks]\n"
    )

    async def main() -> None:
        launch = LaunchConfig(
            nnodes=2,
            node_rank=1,
            master_addr="127.0.0.1",
            master_port=1,
            engine_argv=("-c", starter, FAKE_ENGINE),
        )
        events = Events()
        config = EngineConfig(model="", socket="", degree=4, heartbeat_seconds=0.1)
        supervisor = EngineSupervisor(launch, config, events)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "berth.serving.launch.engine_command",
                lambda launch, config: [
                    sys.executable,
                    *launch.engine_argv,
                    "--config",
                    msgspec.json.encode(config).decode(),
                ],
            )
            supervisor.start()
            await until(lambda: supervisor.state == "ready")
            assert set(supervisor.pids()) == {2, 3}
            assert events.ready == []
            await supervisor.stop()

    run(main())
