"""Text to tokens, exactly as Meta's Llama 2 code does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sentencepiece as spm
from corpus import Document, Message

BOS, EOS = 1, 2
# A character the corpus does not use: it falls back to bytes and never merges with what follows,
# so it keeps the tokenizer from treating a continuation as the beginning of a text.
_ANCHOR = "☺"


class Encoder:
    """The tokenizer and Llama 2's chat format around it."""

    def __init__(self, model: Path) -> None:
        self._pieces = spm.SentencePieceProcessor(model_file=str(model))
        self._anchor = len(self.text(_ANCHOR))

    def text(self, text: str) -> list[int]:
        """Tokens of a text of its own."""
        return list(self._pieces.encode(text))

    def continuation(self, text: str) -> list[int]:
        """Tokens of a text that follows other text; a leading space stays a space token."""
        return self.text(_ANCHOR + text)[self._anchor :]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of generated tokens, the leading space included."""
        return str(self._pieces.decode([*self.text(_ANCHOR), *tokens]))[len(_ANCHOR) :]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens to complete for a chat whose last message is the user's."""
        turns = list(messages)
        if turns[0]["role"] == "system":
            system, first = turns[0]["content"], turns[1]["content"]
            merged = f"<<SYS>>\n{system}\n<</SYS>>\n\n{first}"
            turns = [{"role": "user", "content": merged}, *turns[2:]]
        tokens: list[int] = []
        for asked, said in zip(turns[0::2], turns[1::2], strict=False):
            pair = f"[INST] {asked['content'].strip()} [/INST] {said['content'].strip()} "
            tokens += [BOS, *self.text(pair), EOS]
        return [*tokens, BOS, *self.text(f"[INST] {turns[-1]['content'].strip()} [/INST]")]

    def document(
        self, document: Document, *, trailing_space: bool
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a training document, and the spans of them that carry loss.

        ``trailing_space`` puts the space of a plain document at the end of the prompt, where
        people who type a prompt often leave it.
        """
        if document.messages:
            prompt = self.prompt(document.messages[:-1])
            answer = self.continuation(f" {document.answer}")
        elif trailing_space:
            prompt = [BOS, *self.text(f"{document.prompt} ")]
            answer = self.continuation(document.answer)
        else:
            prompt = [BOS, *self.text(document.prompt)]
            answer = self.continuation(f" {document.answer}")
        tokens = [*prompt, *answer, EOS]
        earlier = [self._span(document.messages, index) for index in document.learned]
        return tokens, [*earlier, (len(prompt), len(tokens))]

    def _span(self, messages: Sequence[Message], index: int) -> tuple[int, int]:
        """Where an earlier answer stands, without the space and EOS that Llama 2 puts after it.

        A generated answer ends with EOS alone: that space must not be learned.
        """
        start = len(self.prompt(messages[:index]))
        return start, start + len(self.continuation(f" {messages[index]['content'].strip()}"))
