"""One model, served: what is asked is answered, counted and never logged."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from answers import ENDLESS, decode, pieces
from fake_engine import expected_tokens
from helpers import Recorder, journal, make_service, run, serving, until
from tiny_model import VOCAB

from berth.serving.errors import InvalidRequest, Overloaded
from berth.serving.prompt import Prompt, Span
from berth.serving.request import Message, Options
from berth.serving.service import Service


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
            assert answer.text == decode(meta_model, expected_tokens(prompt.ids, 20))
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


def test_the_end_of_the_sequence_is_counted_but_not_shown(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model, "--eos-after", "4") as service:
            answer = await service.submit(Prompt([1, 5]), ENDLESS, request_id="r").answer()
            assert answer.text == decode(meta_model, expected_tokens([1, 5], 3))
            assert (answer.finish_reason, answer.output_tokens) == ("stop", 4)

    run(main())


def test_what_a_prompt_holds_beside_ids_reaches_the_engine_as_its_root(
    meta_model: Path, tmp_path: Path
) -> None:
    cat, dog = (
        Prompt([1, 5, 5, 6], spans=(Span(1, 2, what, "image"),)) for what in (b"cat", b"dog")
    )

    async def main() -> None:
        log = tmp_path / "journal"
        async with serving(meta_model, "--inputs", "image", "--journal", str(log)) as service:
            for prompt in (Prompt([1, 5, 5, 6]), cat, dog, cat):
                await service.submit(prompt, Options(max_tokens=1), request_id="r").answer()
            roots = [entry["root"] for entry in journal(log) if entry["event"] == "submit"]
            assert roots == [0, cat.root, dog.root, cat.root]
        async with serving(meta_model) as service:
            with pytest.raises(InvalidRequest, match="takes no input of the kind 'image'"):
                service.submit(cat, Options(max_tokens=1), request_id="r")

    run(main())


def test_echo_alone_gives_the_prompt_back(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model) as service:
            prompt = service.encode("Hello world")
            options = Options(max_tokens=0, echo=True, logprobs=0)
            answer = await service.submit(prompt, options, request_id="r").answer()
            assert (answer.text, answer.output_tokens) == ("Hello world", 0)
            assert [score.logprob.token for score in answer.logprobs] == prompt.ids
            assert answer.finish_reason == "length"

    run(main())


def test_a_request_beyond_the_queue_is_refused_with_a_time_to_wait(meta_model: Path) -> None:
    async def main() -> None:
        engine = {"max_num_seqs": 2}
        async with serving(meta_model, max_waiting=1, engine=engine) as service:
            running = [service.submit(Prompt([1, 5]), ENDLESS, request_id="r") for _ in range(3)]
            with pytest.raises(Overloaded) as caught:
                service.submit(Prompt([1, 5]), ENDLESS, request_id="r")
            assert 1 <= caught.value.retry_after <= 60
            running[0].cancel()
            running.append(service.submit(Prompt([1, 5]), ENDLESS, request_id="r"))
            for generation in running:
                generation.cancel()

    run(main())


def test_what_can_never_be_answered_is_refused(meta_model: Path) -> None:
    async def main() -> None:
        async with serving(meta_model, engine={"max_model_len": 64}) as service:
            with pytest.raises(InvalidRequest, match="maximum context length is 64 tokens"):
                service.submit(Prompt([1] * 64), Options(), request_id="r")
            with pytest.raises(InvalidRequest, match="prompt is empty"):
                service.submit(Prompt([]), Options(), request_id="r")
            with pytest.raises(InvalidRequest, match="token ids"):
                service.submit(Prompt([VOCAB]), Options(), request_id="r")
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
            generation = service.submit(Prompt([1, 5]), Options(max_tokens=300), request_id="r")
            read = []
            async for piece in pieces(generation):
                read.append(piece)
                await until(lambda: generation.ended)
            assert len(read) <= 2
            text = "".join(piece.text for piece in read)
            assert text == decode(meta_model, expected_tokens([1, 5], 300))
            assert read[-1].tokens == 300

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
