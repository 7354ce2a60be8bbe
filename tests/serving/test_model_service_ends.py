"""A request ends early, or the service does: nothing is left in the engine, nobody left waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from answers import ENDLESS, decode, outcome, read
from fake_engine import expected_tokens
from helpers import Recorder, journal, make_service, run, serving, until

from berth.serving.errors import TimedOut, Unavailable
from berth.serving.prompt import Prompt
from berth.serving.request import Options


def test_a_cancelled_request_leaves_the_engine_within_a_step(
    meta_model: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        recorder = Recorder()
        log = tmp_path / "journal"
        async with serving(meta_model, "--journal", str(log), observer=recorder) as service:
            kept = service.submit(Prompt([1, 5]), ENDLESS, request_id="kept")
            gone = service.submit(Prompt([1, 6]), ENDLESS, request_id="gone")
            await until(lambda: recorder.stats and recorder.stats[-1].running == 2)
            gone.cancel()
            seen = len(recorder.stats)
            await until(lambda: recorder.stats[-1].running == 1)
            assert len(recorder.stats) - seen <= 3  # one in flight, one to notice
            cancels = [entry["ids"] for entry in journal(log) if entry["event"] == "cancel"]
            assert cancels == [[gone.number]]
            assert (await gone.answer()).finish_reason == "cancelled"
            kept.cancel()

    run(main())


def test_a_reader_that_goes_away_cancels(meta_model: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serving(meta_model, observer=recorder) as service:
            streams = [
                asyncio.create_task(read(service.submit(Prompt([1, 5]), ENDLESS, request_id="r"))),
                asyncio.create_task(
                    outcome(service.submit(Prompt([1, 6]), ENDLESS, request_id="r"))
                ),
            ]
            await until(lambda: recorder.stats and recorder.stats[-1].running == 2)
            for stream in streams:
                stream.cancel()
            await until(lambda: recorder.stats[-1].running == 0 or len(recorder.finished) == 2)
            assert [record.finish_reason for record in recorder.finished] == ["cancelled"] * 2

    run(main())


def test_a_stop_string_cancels_in_the_engine(meta_model: Path, tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "journal"
        async with serving(meta_model, "--reply", "echo", "--journal", str(log)) as service:
            prompt = service.encode("Hello STOP world")
            options = Options(max_tokens=200, stop=("P wor",))
            answer = await service.submit(prompt, options, request_id="r").answer()
            assert (answer.text, answer.finish_reason) == ("Hello STO", "stop")
            await until(lambda: any(entry["event"] == "cancel" for entry in journal(log)))

    run(main())


def test_a_request_that_runs_too_long_is_timed_out_and_cancelled(
    meta_model: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        log = tmp_path / "journal"
        options = ("--step-seconds", "0.05", "--journal", str(log))
        async with serving(meta_model, *options, request_timeout=0.3) as service:
            by_service = service.submit(Prompt([1, 5]), ENDLESS, request_id="r")
            own = Options(max_tokens=400, timeout=0.2)
            by_itself = service.submit(Prompt([1, 5]), own, request_id="r")
            texts: list[str] = []
            with pytest.raises(TimedOut, match=r"longer than 0\.2 s"):
                await read(by_itself, texts)
            assert texts  # what was there came first
            with pytest.raises(TimedOut, match=r"longer than 0\.3 s"):
                await by_service.answer()
            await until(lambda: len([e for e in journal(log) if e["event"] == "cancel"]) == 2)

    run(main())


def test_draining_refuses_new_requests_and_ends_running_ones(meta_model: Path) -> None:
    async def main() -> None:
        service = make_service(meta_model)
        service.start()
        await until(lambda: service.health().ready)
        running = service.submit(Prompt([1, 5]), Options(max_tokens=50), request_id="r")
        draining = asyncio.create_task(service.drain(20))
        await until(lambda: service.health().state == "draining")
        assert not service.health().ready
        with pytest.raises(Unavailable):
            service.submit(Prompt([1, 5]), ENDLESS, request_id="r")
        with pytest.raises(Unavailable):
            service.encode("Hello")
        answer = await running.answer()
        assert answer.text == decode(meta_model, expected_tokens([1, 5], 50))
        await draining
        assert service.engine_pids() == {}

    run(main())


def test_what_outlives_the_grace_period_is_cut_with_a_reason(meta_model: Path) -> None:
    async def main() -> None:
        service = make_service(meta_model, "--step-seconds", "0.05")
        service.start()
        await until(lambda: service.health().ready)
        running = service.submit(Prompt([1, 5]), ENDLESS, request_id="r")
        await service.drain(0.2)
        with pytest.raises(Unavailable, match="shutting down"):
            await running.answer()

    run(main())


def test_an_engine_that_dies_while_draining_is_replaced(meta_model: Path, tmp_path: Path) -> None:
    async def main() -> None:
        options = ("--state", str(tmp_path / "state"), "--die-after", "10")
        service = make_service(meta_model, *options)
        service.start()
        await until(lambda: service.health().ready)
        running = service.submit(Prompt([1, 5]), Options(max_tokens=50), request_id="r")
        draining = asyncio.create_task(service.drain(20))
        answer = await running.answer()
        assert answer.text == decode(meta_model, expected_tokens([1, 5], 50))
        await draining

    run(main())


def test_before_the_engine_is_ready_requests_are_refused(meta_model: Path) -> None:
    async def main() -> None:
        service = make_service(meta_model, "--load-seconds", "0.3")
        assert service.health().state == "starting"
        with pytest.raises(Unavailable, match="still being loaded"):
            service.encode("Hello")
        service.start()
        await until(lambda: service.health().state == "loading")
        assert service.health().load_fraction is not None
        with pytest.raises(Unavailable, match="still being loaded"):
            service.submit(Prompt([1, 5]), ENDLESS, request_id="r")
        await until(lambda: service.health().ready)
        assert service.max_model_len == 512
        await service.drain(0)

    run(main())
