"""Whatever engines do (die, hang, choke on a request), each answer is whole or ends in a reason."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from answers import ENDLESS, decode, outcome, read
from fake_engine import expected_tokens
from helpers import Recorder, make_service, run, serving, until
from tiny_model import VOCAB

from berth.protocol.messages import EngineStats, Ready, StepReport
from berth.serving.errors import EngineFailed, Overloaded, Unavailable
from berth.serving.generation import ModelGeneration
from berth.serving.model_service import ModelService
from berth.serving.prompt import Prompt
from berth.serving.request import Options

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
                asyncio.create_task(
                    read(service.submit(Prompt(p), Options(max_tokens=90), request_id="r"))
                )
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
                asyncio.create_task(
                    read(service.submit(Prompt(p), Options(max_tokens=n), request_id="r"))
                )
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
            answer = await service.submit(Prompt(prompt), asked, request_id="r").answer()
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
                service.submit(Prompt(p), Options(max_tokens=20), request_id="r").answer()
                for p in prompts
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
                service.submit(Prompt([1, n]), Options(max_tokens=5), request_id="r")
                for n in (5, 6)
            ]
            with pytest.raises(Overloaded):
                service.submit(Prompt([1, 7]), Options(max_tokens=5), request_id="r")
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
                    outcome(service.submit(Prompt(p), Options(max_tokens=9), request_id="r"))
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
                    outcome(service.submit(Prompt(p), Options(max_tokens=9), request_id="r"))
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
            suspect = suspect or service.submit(Prompt([1, 5]), ENDLESS, request_id="suspect")
            service.engine_lost("killed", was_ready=True)
        assert suspect is not None
        assert suspect.suspect
        service.engine_ready(READY)
        beside = service.submit(Prompt([1, 6]), ENDLESS, request_id="beside")
        service.engine_lost("killed", was_ready=True)
        assert isinstance(suspect.error, EngineFailed)
        assert (beside.deaths, beside.replays, beside.error) == (0, 1, None)
        service.engine_ready(READY)
        assert beside.in_engine
        beside.cancel()

    run(main())


def test_a_request_that_comes_when_the_engine_is_down_took_no_part_in_its_death(
    meta_model: Path,
) -> None:
    async def main() -> None:
        service = make_service(meta_model)  # its engine's life is told, and not lived
        service.engine_ready(READY)
        early = service.submit(Prompt([1, 5]), ENDLESS, request_id="early")
        service.engine_down()
        late = service.submit(Prompt([1, 6]), ENDLESS, request_id="late")
        assert not late.in_engine
        service.engine_lost("killed", was_ready=True)
        assert (early.deaths, early.replays) == (1, 1)
        assert (late.deaths, late.replays) == (0, 0)
        service.engine_ready(READY)
        assert early.in_engine
        assert late.in_engine
        early.cancel()
        late.cancel()

    run(main())


def test_requests_that_only_waited_in_engines_that_died_are_not_blamed(
    meta_model: Path, tmp_path: Path
) -> None:
    """Four engines die before they begin anything: more deaths than a request may cause."""

    async def main() -> None:
        plan = ("--die-after", "3", "--die-unbegun", "1,2,3,4")
        options = ("--state", str(tmp_path / "state"), *plan)
        async with serving(meta_model, *options) as service:
            first = service.submit(Prompt([1, 5]), Options(max_tokens=9), request_id="first")
            await until(lambda: service.health().state == "restarting")
            waiting = [
                service.submit(Prompt([1, n]), Options(max_tokens=9), request_id="r")
                for n in (6, 7)
            ]
            texts = [(await each.answer()).text for each in (first, *waiting)]
            assert texts == [decode(meta_model, expected_tokens([1, n], 9)) for n in (5, 6, 7)]
            assert service.health().engine_restarts == 5
            assert [each.deaths for each in waiting] == [0, 0]

    run(main())


def test_requests_in_the_engines_queue_are_not_blamed_for_the_one_that_runs(
    meta_model: Path,
) -> None:
    async def main() -> None:
        engine = {"max_num_seqs": 1}
        async with serving(meta_model, "--poison-token", "77", engine=engine) as service:
            poison = service.submit(Prompt([1, 77]), Options(max_tokens=9), request_id="poison")
            behind = [
                service.submit(Prompt([1, n]), Options(max_tokens=9), request_id="r")
                for n in (5, 6)
            ]
            assert await outcome(poison) == "EngineFailed"
            for number, each in zip((5, 6), behind, strict=True):
                text = decode(meta_model, expected_tokens([1, number], 9))
                assert (await each.answer()).text == text
                assert each.deaths == 0

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
        running = service.submit(Prompt([1, 5]), ENDLESS, request_id="r")
        flag.touch()
        os.kill(service.engine_pids()[0], signal.SIGKILL)
        with pytest.raises(EngineFailed):
            await running.answer()
        assert service.health().state == "failed"
        assert "status 3" in service.health().detail
        with pytest.raises(Unavailable, match="cannot run"):
            service.submit(Prompt([1, 5]), ENDLESS, request_id="r")
        await service.drain(0)

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
                service.submit(Prompt([1, 5]), Options(max_tokens=30), request_id=name)
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
