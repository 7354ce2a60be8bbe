"""What a reader gets of one request, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from helpers import run
from test_detokenize import SENTENCEPIECE

from berth.protocol.messages import Delta, SamplingParams
from berth.serving.errors import EngineFailed
from berth.serving.generation import MAX_DEATHS, ModelGeneration
from berth.serving.output import OutputText
from berth.serving.request import Piece

TOKENS = SENTENCEPIECE.encode("Hello world", bos=False)


def generation(on_end: Callable[[ModelGeneration], Any] = lambda _: None) -> ModelGeneration:
    return ModelGeneration(
        1,
        "r",
        [1, 5, 6],
        SamplingParams(max_tokens=9),
        OutputText(SENTENCEPIECE),
        now=0.0,
        echo=False,
        output_hidden=False,
        on_end=on_end,
    )


def delta(tokens: list[int], reason: Any = None, **more: Any) -> Delta:
    return Delta(1, tokens, reason, **more)


async def pieces(request: ModelGeneration) -> list[Piece]:
    return [piece async for piece in request]


def test_what_is_not_read_at_once_is_one_piece() -> None:
    async def main() -> None:
        request = generation()
        for token in TOKENS[:-1]:
            request.receive(delta([token]))
        request.receive(delta(TOKENS[-1:], "length"))
        assert await pieces(request) == [Piece("Hello world", len(TOKENS), "length")]

    run(main())


def test_a_waiting_reader_gets_each_piece_as_it_comes() -> None:
    async def main() -> None:
        request = generation()
        reader = aiter(request)
        for token in TOKENS:
            waiting = asyncio.ensure_future(anext(reader))
            await asyncio.sleep(0)
            assert not waiting.done()
            request.receive(delta([token]))
            assert (await waiting).text == SENTENCEPIECE.token_bytes(token).decode().removeprefix(
                " " if token == TOKENS[0] else ""
            )
        request.cancel()

    run(main())


def test_an_error_comes_after_the_text_before_it() -> None:
    async def main() -> None:
        request = generation()
        request.receive(delta(TOKENS))
        request.fail(EngineFailed("gone"))
        reader = aiter(request)
        assert (await anext(reader)).text == "Hello world"
        with pytest.raises(EngineFailed, match="gone"):
            await anext(reader)
        with pytest.raises(EngineFailed, match="gone"):
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


def test_leaving_a_stream_early_cancels() -> None:
    async def main() -> None:
        ends: list[ModelGeneration] = []
        request = generation(ends.append)
        request.receive(delta(TOKENS))
        stream = request.__aiter__()
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
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
            [1, 5, 6],
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
