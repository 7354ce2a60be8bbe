"""Reading what a generation answers, and what it should have been."""

from __future__ import annotations

from pathlib import Path

import sentencepiece

from berth.serving.errors import ServingError
from berth.serving.request import Options
from berth.serving.service import Generation

ENDLESS = Options(max_tokens=400)


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
