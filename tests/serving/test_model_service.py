"""One model, served: whatever engines and clients do, each answer is whole or ends in a reason."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from pathlib import Path

import pytest
import sentencepiece
from fake_engine import expected_tokens
from helpers import Recorder, journal, make_service, run, serving, until
from tiny_model import VOCAB

from berth.protocol.messages import EngineStats, Ready, StepReport
from berth.serving.errors import (
    EngineFailed,
    InvalidRequest,
    Overloaded,
    ServingError,
    TimedOut,
    Unavailable,
)
from berth.serving.generation import ModelGeneration
from berth.serving.model_service import ModelService
from berth.serving.request import Message, Options
from berth.serving.service import Generation, Service

ENDLESS = Options(max_tokens=400)
READY = Ready(
    engine="fake",
    architecture="fake",
    vocab_size=VOCAB,
    max_model_len=512,
    max_num_seqs=8,
    block_size=16,
    blocks_total=64,
    dtype="float32",
    device="cpu",
    degree=1,
    weight_bytes=1,
    kv_bytes=1,
    load_seconds=0.0,
)


def decode(folder: Path, tokens: list[int]) -> str:
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return str(model.decode(tokens))


async def read(generation: Generation, texts: list[str] | None = None) -> str:
    """The whole text; also piece by piece into `texts`."""
    texts = [] if texts is None else texts
    async for piece in generation:
        texts.append(piece.text)
    return "".join(texts)


async def outcome(generation: Generation) -> str:
    """The text, or the name of the error."""
    try:
        return (await generation.answer()).text
    except ServingError as error:
        return type(error).__name__


def test_a_service_is_what_dialects_expect(meta_model: Path) -> None:
    async def main() -> None:
        service: Service = make_service(meta_model)
        assert service.model_id == "tiny"

    run(main())


def test_a_request_is_answered_and_told_about(meta_model: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serving(meta_model, observer=recorder) as service:
            prompt = service.encode("Hello")
            answer = await service.submit(prompt, Options(max_tokens=20), request_id="r-1").answer()
            assert answer.text == decode(meta_model, expected_tokens(prompt, 20))
            assert (answer.finish_reason, answer.output_tokens) == ("length", 20)
            assert answer.prompt_tokens == len(prompt)
            (record,) = recorder.finished
            assert (record.request_id, record.output_tokens) == ("r-1", 20)
            assert record.first_token is not None
            assert 0 < record.first_token <= record.total
            assert recorder.started == [len(prompt)]
            assert recorder.tokens == 20
            assert len(recorder.first_tokens) == 1
            assert len(recorder.gaps) == 19

    run(main())


@pytest.mark.parametrize("kill_after", [1, 7, 20])
def test_streams_survive_the_engines_death_without_a_byte_changed(
    meta_model: Path, kill_after: int
) -> None:
    """Eight streams; the engine is killed again and again in the middle of them."""

    async def main() -> None:
        recorder = Recorder()
        async with serving(meta_model, observer=recorder) as service:
            prompts = [[1, *range(5, 5 + n)] for n in range(1, 9)]
            streams = [
                asyncio.create_task(read(service.submit(p, Options(max_tokens=90), request_id="r")))
                for p in prompts
            ]
            for deaths in range(1, 4):
                await recorder.until_tokens(recorder.tokens + kill_after * len(prompts))
                os.kill(service.engine_pids()[0], signal.SIGKILL)
                await recorder.until_deaths(deaths)
                assert service.health().state == "restarting"
            texts = await asyncio.gather(*streams)
            assert texts == [decode(meta_model, expected_tokens(p, 90)) for p in prompts]
            assert service.health().engine_restarts == 3
            assert recorder.tokens == 90 * 8  # none was made twice

    run(main())


def test_an_engine_that_kills_itself_at_random_loses_nothing(
    meta_model: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        rng = random.Random(5)
        plan = ",".join(str(rng.randint(9, 120)) for _ in range(5))
        options = ("--state", str(tmp_path / "state"), "--die-after", plan)
        async with serving(meta_model, *options) as service:
            prompts = [[1, *(rng.randrange(3, VOCAB) for _ in range(9))] for _ in range(8)]
            limits = [rng.randint(1, 90) for _ in prompts]
            streams = [
                asyncio.create_task(read(service.submit(p, Options(max_tokens=n), request_id="r")))
                for p, n in zip(prompts, limits, strict=True)
            ]
            texts = await asyncio.gather(*streams)
            assert texts == [
                decode(meta_model, expected_tokens(p, n))
                for p, n in zip(prompts, limits, strict=True)
            ]
            assert service.health().engine_restarts > 0

    run(main())


def test_logprobs_and_echo_survive_the_engines_death(meta_model: Path, tmp_path: Path) -> None:
    async def main() -> None:
        options = ("--state", str(tmp_path / "state"), "--die-after", "7,5")
        prompt = [1, 40, 50]
        async with serving(meta_model, *options) as service:
            asked = Options(max_tokens=30, logprobs=2, echo=True)
            answer = await service.submit(prompt, asked, request_id="r").answer()
            tokens = prompt + expected_tokens(prompt, 30)
            assert answer.text == decode(meta_model, tokens)
            assert [score.logprob.token for score in answer.logprobs] == tokens
            assert [len(score.top_texts) for score in answer.logprobs] == [0] + [2] * 32
            assert service.health().engine_restarts == 2

    run(main())


def test_a_hung_engine_is_replaced_in_the_middle_of_streams(
    meta_model: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        options = ("--state", str(tmp_path / "state"), "--hang-after", "20")
        async with serving(meta_model, *options, launch={"hang_timeout": 0.6}) as service:
            prompts = [[1, n] for n in range(5, 9)]
            streams = [
                service.submit(p, Options(max_tokens=20), request_id="r").answer() for p in prompts
            ]
            answers = await asyncio.gather(*streams)
            assert [answer.text for answer in answers] == [
                decode(meta_model, expected_tokens(p, 20)) for p in prompts
            ]
            assert service.health().engine_restarts == 1

    run(main())


def test_requests_that_come_while_the_engine_restarts_wait_for_it(meta_model: Path) -> None:
    async def main() -> None:
        options = ("--load-seconds", "0.3")
        async with serving(
            meta_model, *options, max_waiting=0, engine={"max_num_seqs": 2}
        ) as service:
            os.kill(service.engine_pids()[0], signal.SIGKILL)
            await until(lambda: service.health().state == "restarting")
            waiting = [
                service.submit([1, n], Options(max_tokens=5), request_id="r") for n in (5, 6)
            ]
            with pytest.raises(Overloaded):
                service.submit([1, 7], Options(max_tokens=5), request_id="r")
            texts = [(await generation.answer()).text for generation in waiting]
            assert texts == [decode(meta_model, expected_tokens([1, n], 5)) for n in (5, 6)]

    run(main())


def test_a_request_that_kills_every_engine_is_given_up_and_no_other(
    meta_model: Path,
) -> None:
    """All run in the same first step, so none has progressed when the engine dies."""

    async def main() -> None:
        async with serving(meta_model, "--poison-token", "77") as service:
            prompts = [[1, 5], [1, 77], [1, 6], [1, 7]]
            outcomes = await asyncio.gather(
                *(
                    outcome(service.submit(p, Options(max_tokens=9), request_id="r"))
                    for p in prompts
                )
            )
            expected = [decode(meta_model, expected_tokens(p, 9)) for p in prompts]
            expected[1] = "EngineFailed"
            assert outcomes == expected
            assert service.health().engine_restarts == 3
            await until(lambda: service.health().ready)

    run(main())


def test_two_poisonous_requests_are_both_found(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model, "--poison-token", "77") as service:
            prompts = [[1, 77], [1, 5], [1, 77, 77], [1, 6]]
            outcomes = await asyncio.gather(
                *(
                    outcome(service.submit(p, Options(max_tokens=9), request_id="r"))
                    for p in prompts
                )
            )
            assert outcomes[0] == outcomes[2] == "EngineFailed"
            assert outcomes[1] == decode(meta_model, expected_tokens([1, 5], 9))
            assert outcomes[3] == decode(meta_model, expected_tokens([1, 6], 9))

    run(main())


def test_what_runs_beside_a_suspect_is_not_blamed_for_a_death(meta_model: Path) -> None:
    async def main() -> None:
        service = make_service(meta_model)  # its engine's life is told, and not lived
        suspect = None
        for _ in range(2):
            service.engine_ready(READY)
            suspect = suspect or service.submit([1, 5], ENDLESS, request_id="suspect")
            service.engine_lost("killed", was_ready=True)
        assert suspect is not None
        assert suspect.suspect
        service.engine_ready(READY)
        beside = service.submit([1, 6], ENDLESS, request_id="beside")
        service.engine_lost("killed", was_ready=True)
        assert isinstance(suspect.error, EngineFailed)
        assert (beside.deaths, beside.replays, beside.error) == (0, 1, None)
        service.engine_ready(READY)
        assert beside.in_engine
        beside.cancel()

    run(main())


def test_a_cancelled_request_leaves_the_engine_within_a_step(
    meta_model: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        recorder = Recorder()
        log = tmp_path / "journal"
        async with serving(meta_model, "--journal", str(log), observer=recorder) as service:
            kept = service.submit([1, 5], ENDLESS, request_id="kept")
            gone = service.submit([1, 6], ENDLESS, request_id="gone")
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
                asyncio.create_task(read(service.submit([1, 5], ENDLESS, request_id="r"))),
                asyncio.create_task(outcome(service.submit([1, 6], ENDLESS, request_id="r"))),
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


def test_the_end_of_the_sequence_is_counted_but_not_shown(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model, "--eos-after", "4") as service:
            answer = await service.submit([1, 5], ENDLESS, request_id="r").answer()
            assert answer.text == decode(meta_model, expected_tokens([1, 5], 3))
            assert (answer.finish_reason, answer.output_tokens) == ("stop", 4)

    run(main())


def test_echo_alone_gives_the_prompt_back(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model) as service:
            prompt = service.encode("Hello world")
            options = Options(max_tokens=0, echo=True, logprobs=0)
            answer = await service.submit(prompt, options, request_id="r").answer()
            assert (answer.text, answer.output_tokens) == ("Hello world", 0)
            assert [score.logprob.token for score in answer.logprobs] == prompt
            assert answer.finish_reason == "length"

    run(main())


def test_a_request_beyond_the_queue_is_refused_with_a_time_to_wait(meta_model: Path) -> None:
    async def main() -> None:
        engine = {"max_num_seqs": 2}
        async with serving(meta_model, max_waiting=1, engine=engine) as service:
            running = [service.submit([1, 5], ENDLESS, request_id="r") for _ in range(3)]
            with pytest.raises(Overloaded) as caught:
                service.submit([1, 5], ENDLESS, request_id="r")
            assert 1 <= caught.value.retry_after <= 60
            running[0].cancel()
            running.append(service.submit([1, 5], ENDLESS, request_id="r"))
            for generation in running:
                generation.cancel()

    run(main())


def test_a_request_that_runs_too_long_is_timed_out_and_cancelled(
    meta_model: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        log = tmp_path / "journal"
        options = ("--step-seconds", "0.05", "--journal", str(log))
        async with serving(meta_model, *options, request_timeout=0.3) as service:
            by_service = service.submit([1, 5], ENDLESS, request_id="r")
            own = Options(max_tokens=400, timeout=0.2)
            by_itself = service.submit([1, 5], own, request_id="r")
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
        running = service.submit([1, 5], Options(max_tokens=50), request_id="r")
        draining = asyncio.create_task(service.drain(20))
        await until(lambda: service.health().state == "draining")
        assert not service.health().ready
        with pytest.raises(Unavailable):
            service.submit([1, 5], ENDLESS, request_id="r")
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
        running = service.submit([1, 5], ENDLESS, request_id="r")
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
        running = service.submit([1, 5], Options(max_tokens=50), request_id="r")
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
            service.submit([1, 5], ENDLESS, request_id="r")
        await until(lambda: service.health().ready)
        assert service.max_model_len == 512
        await service.drain(0)

    run(main())


def test_when_the_engine_is_given_up_every_request_ends_with_a_reason(
    meta_model: Path, tmp_path: Path
) -> None:
    async def main() -> None:
        flag = tmp_path / "broken"
        script = tmp_path / "engine.py"
        script.write_text(
            "import os, sys, runpy\n"
            f"if os.path.exists({str(flag)!r}): sys.exit(3)\n"
            "sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        service = make_service(meta_model, launch={"max_failed_starts": 2}, script=script)
        service.start()
        await until(lambda: service.health().ready)
        running = service.submit([1, 5], ENDLESS, request_id="r")
        flag.touch()
        os.kill(service.engine_pids()[0], signal.SIGKILL)
        with pytest.raises(EngineFailed):
            await running.answer()
        assert service.health().state == "failed"
        assert "status 3" in service.health().detail
        with pytest.raises(Unavailable, match="cannot run"):
            service.submit([1, 5], ENDLESS, request_id="r")
        await service.drain(0)

    run(main())


def test_what_can_never_be_answered_is_refused(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model, engine={"max_model_len": 64}) as service:
            with pytest.raises(InvalidRequest, match="maximum context length is 64 tokens"):
                service.submit([1] * 64, Options(), request_id="r")
            with pytest.raises(InvalidRequest, match="prompt is empty"):
                service.submit([], Options(), request_id="r")
            with pytest.raises(InvalidRequest, match="token ids"):
                service.submit([VOCAB], Options(), request_id="r")
            for text in ("x" * 1_000_000, "\ud800"):
                with pytest.raises(InvalidRequest):
                    service.encode(text)
                with pytest.raises(InvalidRequest):
                    service.render_chat([Message("user", text)])
            assert service.health().ready

    run(main())


def test_a_chat_of_a_base_model_ends_at_the_next_speaker(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model, "--reply", "echo", template="plain") as service:
            prompt = service.render_chat([Message("user", "Hello")])
            answer = await service.submit(prompt, Options(max_tokens=200), request_id="r").answer()
            # The echo says "User: Hello\nAssistant:" over and over, without a line between.
            assert answer.finish_reason == "length"
            prompt = service.render_chat([Message("system", "x"), Message("user", "Hello")])
            answer = await service.submit(prompt, Options(max_tokens=200), request_id="r").answer()
            assert (answer.text, answer.finish_reason) == ("System: x", "stop")

    run(main())


def test_a_slow_reader_gets_everything_in_few_pieces(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model, "--step-seconds", "0") as service:
            generation = service.submit([1, 5], Options(max_tokens=300), request_id="r")
            pieces = []
            async for piece in generation:
                pieces.append(piece)
                await until(lambda: generation.ended)
            assert len(pieces) <= 2
            text = "".join(piece.text for piece in pieces)
            assert text == decode(meta_model, expected_tokens([1, 5], 300))
            assert pieces[-1].tokens == 300

    run(main())


def test_one_answer_that_cannot_be_put_together_harms_no_other(
    meta_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with serving(meta_model) as service:
            receive = ModelGeneration.receive

            def broken(self: ModelGeneration, delta: object) -> None:
                if self.request_id == "broken":
                    raise ValueError("secret text")
                receive(self, delta)  # type: ignore[arg-type]

            monkeypatch.setattr(ModelGeneration, "receive", broken)
            whole, part = (
                service.submit([1, 5], Options(max_tokens=30), request_id=name)
                for name in ("whole", "broken")
            )
            assert await outcome(part) == "EngineFailed"
            assert await outcome(whole) == decode(meta_model, expected_tokens([1, 5], 30))
            assert service.health().engine_restarts == 0

    run(main())


def test_counters_never_go_back_when_engines_change(meta_model: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        service: ModelService = make_service(meta_model, observer=recorder)
        for _ in range(2):
            for count in (1, 2):
                stats = EngineStats(preemptions=count, prefix_queries=9 * count)
                service.engine_step(StepReport([], stats))
            service.engine_lost("killed", was_ready=True)
        assert [stats.preemptions for stats in recorder.stats] == [1, 2, 3, 4]
        assert [stats.prefix_queries for stats in recorder.stats] == [9, 18, 27, 36]

    run(main())


def test_no_text_of_a_client_reaches_the_log(
    meta_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        options = ("--reply", "echo", "--state", str(tmp_path / "s"), "--die-after", "5")
        async with serving(meta_model, *options) as service:
            prompt = service.encode("quay berth")
            answer = await service.submit(prompt, Options(max_tokens=30), request_id="r-7").answer()
            assert "quay berth" in answer.text
            with pytest.raises(InvalidRequest):
                service.encode("quay berth \ud800")
            with pytest.raises(InvalidRequest):
                service.render_chat([Message("user", "quay [INST]")])

    run(main())
    logged = caplog.text
    assert "r-7" in logged
    assert "engine lost" in logged
    assert "quay" not in logged
