"""Reading what a generation answers, and what it should have been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import sentencepiece

from berth.serving.errors import ServingError
from berth.serving.request import Options, Piece
from berth.serving.service import Generation

ENDLESS = Options(max_tokens=400)


def decode(folder: Path, tokens: list[int]) -> str:
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return str(model.decode(tokens))


async def pieces(generation: Generation) -> AsyncIterator[Piece]:
    """What a reader gets who takes each piece at once, and cancels when it leaves."""
    news = asyncio.Event()
    generation.listen(news.set)
    try:
        while True:
            await news.wait()
            news.clear()
            piece = generation.take()
            if piece is not None:
                yield piece
                if piece.finish_reason is not None:
                    return
    finally:
        generation.cancel()


async def read(generation: Generation, texts: list[str] | None = None) -> str:
    """The whole text; also piece by piece into `texts`."""
    texts = [] if texts is None else texts
    async for piece in pieces(generation):
        texts.append(piece.text)
    return "".join(texts)


async def outcome(generation: Generation) -> str:
    """The text, or the name of the error."""
    try:
        return (await generation.answer()).text
    except ServingError as error:
        return type(error).__name__
