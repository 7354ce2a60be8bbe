"""What a reader gets of one request, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from helpers import run

from berth.protocol.messages import Delta, SamplingParams
from berth.serving.errors import EngineFailed, InvalidRequest
from berth.serving.generation import MAX_DEATHS, ModelGeneration
from berth.serving.output import OutputText
from berth.serving.prompt import Prompt
from berth.serving.request import Piece
from tokenizer.test_detokenize import SENTENCEPIECE

TOKENS = SENTENCEPIECE.encode("Hello world", bos=False)


def generation(on_end: Callable[[ModelGeneration], Any] = lambda _: None) -> ModelGeneration:
    return ModelGeneration(
        1,
        "r",
        Prompt([1, 5, 6]),
        SamplingParams(max_tokens=9),
        OutputText(SENTENCEPIECE),
        now=0.0,
        echo=False,
        output_hidden=False,
        on_end=on_end,
    )


def delta(tokens: list[int], reason: Any = None, **more: Any) -> Delta:
    return Delta(1, tokens, reason, **more)


def test_what_is_not_read_at_once_is_one_piece() -> None:
    async def main() -> None:
        request = generation()
        for token in TOKENS[:-1]:
            request.receive(delta([token]))
        request.receive(delta(TOKENS[-1:], "length"))
        heard = []
        request.listen(lambda: heard.append(request.take()))  # at once: it is already there
        assert heard == [Piece("Hello world", len(TOKENS), "length")]

    run(main())


def test_a_listener_can_take_each_piece_as_it_comes() -> None:
    async def main() -> None:
        request = generation()
        heard: list[Piece | None] = []
        request.listen(lambda: heard.append(request.take()))
        for count, token in enumerate(TOKENS, start=1):
            assert request.take() is None
            request.receive(delta([token]))
            assert len(heard) == count
            piece = heard[-1]
            assert piece is not None
            assert piece.text == SENTENCEPIECE.token_bytes(token).decode().removeprefix(
                " " if count == 1 else ""
            )
        request.cancel()
        assert heard[-1] == Piece("", len(TOKENS), "cancelled")

    run(main())


def test_half_a_character_is_no_piece() -> None:
    async def main() -> None:
        request = generation()
        heard = []
        request.listen(lambda: heard.append(request.take()))
        first, *others = SENTENCEPIECE.encode("\u2603", bos=False)[-3:]  # in three byte tokens
        request.receive(delta([first]))
        assert heard in ([], [None])
        request.receive(delta(others))
        assert heard[-1] is not None
        assert heard[-1].text.endswith("\u2603")

    run(main())


def test_a_whole_answer_is_awaited_once_and_not_at_each_token() -> None:
    async def main() -> None:
        request = generation()
        answer = asyncio.ensure_future(request.answer())
        await asyncio.sleep(0)
        for token in TOKENS:
            request.receive(delta([token]))
            await asyncio.sleep(0)
            assert not answer.done()
        request.receive(delta([], "stop"))
        assert (await answer).text == "Hello world"

    run(main())


def test_an_error_comes_after_the_text_before_it() -> None:
    async def main() -> None:
        request = generation()
        request.receive(delta(TOKENS))
        request.fail(EngineFailed("gone"))
        piece = request.take()
        assert piece is not None
        assert piece.text == "Hello world"
        with pytest.raises(EngineFailed, match="gone"):
            request.take()
        with pytest.raises(EngineFailed, match="gone"):
            await request.answer()

    run(main())


def test_an_error_is_told_to_a_reader_that_first_has_to_take_the_text() -> None:
    async def main() -> None:
        request = generation()
        calls: list[int] = []
        request.listen(lambda: calls.append(request.output_tokens))
        request.receive(delta(TOKENS))
        request.fail(EngineFailed("gone"))
        told = len(calls)
        assert request.take() is not None
        assert len(calls) == told + 1
        with pytest.raises(EngineFailed, match="gone"):
            request.take()
        assert len(calls) == told + 1

    run(main())


def test_a_request_that_the_engine_refuses_is_the_clients_fault() -> None:
    async def main() -> None:
        request = generation()
        request.receive(delta([], "error", error="bad_words leave no token", refused=True))
        with pytest.raises(InvalidRequest, match="bad_words leave no token"):
            await request.answer()

    run(main())


@pytest.mark.parametrize("reason", ["error", "cancelled"])
def test_a_request_that_the_engine_gives_up_fails(reason: str) -> None:
    async def main() -> None:
        request = generation()
        request.receive(delta([], reason, error="logits are not numbers"))
        with pytest.raises(EngineFailed, match="logits are not numbers"):
            await request.answer()

    run(main())


def test_a_request_ends_once() -> None:
    async def main() -> None:
        ends: list[ModelGeneration] = []
        request = generation(ends.append)
        request.receive(delta(TOKENS, "stop", cached_tokens=2))
        request.cancel()
        request.fail(EngineFailed("late"))
        assert ends == [request]
        answer = await request.answer()
        assert (answer.text, answer.finish_reason) == ("Hello world", "stop")
        assert (answer.prompt_tokens, answer.cached_tokens) == (3, 2)
        assert await request.answer() == answer

    run(main())


def test_no_longer_waiting_for_an_answer_cancels() -> None:
    async def main() -> None:
        ends: list[ModelGeneration] = []
        request = generation(ends.append)
        request.receive(delta(TOKENS))
        answer = asyncio.ensure_future(request.answer())
        await asyncio.sleep(0)
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        assert ends == [request]
        assert request.finish_reason == "cancelled"

    run(main())


def test_only_deaths_without_progress_count() -> None:
    request = generation()
    for _ in range(10):
        request.receive(delta([5]))
        request.lost_engine(to_blame=True)
    assert request.error is None
    for _ in range(MAX_DEATHS - 1):
        request.lost_engine(to_blame=True)
    assert isinstance(request.error, EngineFailed)


def test_an_innocent_bystander_is_never_given_up() -> None:
    request = generation()
    for _ in range(10):
        request.lost_engine(to_blame=False)
    assert request.error is None
    assert not request.suspect


def test_further_sequences_of_a_beam_search_come_with_the_first() -> None:
    async def main() -> None:
        request = ModelGeneration(
            1,
            "r",
            Prompt([1, 5, 6]),
            SamplingParams(max_tokens=9),
            OutputText(SENTENCEPIECE),
            now=0.0,
            echo=False,
            output_hidden=False,
            on_end=lambda _: None,
            others=[OutputText(SENTENCEPIECE), OutputText(SENTENCEPIECE)],
        )
        request.receive(delta(TOKENS[:1], "stop", index=2))
        request.receive(delta(TOKENS[:2], "length", index=1))
        assert not request.ended
        assert request.emitted == []
        request.receive(delta(TOKENS, "length"))
        answer = await request.answer()
        assert answer.text == "Hello world"
        assert [other.finish_reason for other in answer.others] == ["length", "stop"]
        assert all("Hello world".startswith(other.text) for other in answer.others)
        assert request.output_tokens == len(TOKENS) + 3

    run(main())
