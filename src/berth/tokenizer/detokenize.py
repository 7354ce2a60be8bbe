"""From token ids to text, one token at a time, equal to decoding them all at once.

A detokeniser never gives out a part of a character: bytes that may still become one wait for the
next token, and `flush` tells what the ones left over are worth (U+FFFD).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

REPLACEMENT = "\ufffd"
# Tokens of context that decide how a following token is spelt, for decoders we know nothing about.
_CONTEXT_TOKENS = 8
# An unfinished character is at most four bytes, thus at most four tokens; beyond, it is garbage.
_MAX_UNFINISHED = 6


class Detokenizer(Protocol):
    """The state of one answer."""

    def feed(self, token: int) -> str:
        """Return the text that is certain after `token`; ids outside the vocabulary are empty."""
        ...

    def flush(self) -> str:
        """Return what is left at the end: U+FFFD for the bytes of an unfinished character."""
        ...


@dataclass(frozen=True, slots=True)
class PieceRules:
    """How a vocabulary of SentencePiece's kind decodes.

    `table` has one entry per id: the text, spaces as spaces, or the value of a byte token.
    """

    table: Sequence[str | int]
    # One leading space is the dummy prefix that encoding adds, and is dropped ...
    strips_space: bool = True
    # ... or every token that is a lone space is (models trained to remove extra whitespace) ...
    strips_all: bool = False
    # ... but not that of the unknown token's surface, nor (SentencePiece only) that of a byte.
    unknown_id: int | None = None
    strips_bytes: bool = False


class PieceDetokenizer:
    """Decodes as SentencePiece's own `decode` does: text pieces, and byte tokens between them.

    A byte that belongs to no valid character becomes one U+FFFD each. (Hugging Face's ByteFallback
    gives up a whole run of byte tokens for one bad byte, which no stream could honour.)
    """

    def __init__(self, rules: PieceRules, *, continuation: bool = False) -> None:
        self._rules = rules
        self._table = rules.table
        self._bytes = b""
        # Whether the next text may have to give up its leading space.
        self._at_start = rules.strips_space and not continuation
        self._plain = not self._at_start  # neither a start nor bytes pending: the fast path

    def feed(self, token: int) -> str:
        entry = self._table[token] if 0 <= token < len(self._table) else ""
        if self._plain and type(entry) is str:
            return entry
        if isinstance(entry, int):
            self._bytes += bytes((entry,))
            text, self._bytes = decode_prefix(self._bytes)
            text = self._started(text, strip=self._rules.strips_bytes)
        else:
            text = self._started(self._flush_bytes(), strip=self._rules.strips_bytes)
            text += self._started(entry, strip=token != self._rules.unknown_id)
        self._plain = not self._at_start and not self._bytes
        return text

    def flush(self) -> str:
        text = self._started(self._flush_bytes(), strip=self._rules.strips_bytes)
        self._plain = not self._at_start
        return text

    def _flush_bytes(self) -> str:
        left, self._bytes = self._bytes, b""
        return REPLACEMENT * len(left)

    def _started(self, text: str, *, strip: bool) -> str:
        """Apply the leading space's rule to `text`, the next of the output."""
        if not text or not self._at_start:
            return text
        if strip and text.startswith(" "):
            text = text[1:]
            self._at_start = self._rules.strips_all and not text
        else:
            self._at_start = False
        return text


def decode_prefix(data: bytes) -> tuple[str, bytes]:
    """Decode what is certain: (text, the bytes that may still become a character).

    Each byte that belongs to no character becomes one U+FFFD, as in SentencePiece.
    """
    text = ""
    while True:
        try:
            return text + data.decode(), b""
        except UnicodeDecodeError as error:
            text += data[: error.start].decode()
            data = data[error.start :]
            if error.reason == "unexpected end of data":
                return text, data
            text += REPLACEMENT
            data = data[1:]


class ByteLevelDetokenizer:
    """Every token is a string of bytes (GPT-2, Llama 3, Qwen): UTF-8 over their concatenation."""

    def __init__(self, table: Sequence[bytes]) -> None:
        self._table = table
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._plain = True  # no bytes pending: the fast path

    def feed(self, token: int) -> str:
        data = self._table[token] if 0 <= token < len(self._table) else b""
        if self._plain and data.isascii():
            return data.decode()
        text = self._decoder.decode(data)
        self._plain = not self._decoder.getstate()[0]
        return text

    def flush(self) -> str:
        self._plain = True
        return self._decoder.decode(b"", True)


class WindowDetokenizer:
    """For any other decoder: decode a short window twice, and give out the difference."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._known = 0  # tokens of the window whose text was given out

    def feed(self, token: int) -> str:
        self._window.append(token)
        before = self._decode(self._window[: self._known])
        text = self._decode(self._window)
        unfinished = len(self._window) - self._known
        if len(text) <= len(before):
            return ""
        if text.endswith(REPLACEMENT) and unfinished < _MAX_UNFINISHED:
            return ""
        self._known = len(self._window)
        if self._known > 2 * _CONTEXT_TOKENS:
            self._shorten(text)
        return text[len(before) :]

    def _shorten(self, text: str) -> None:
        """Keep the last tokens as context, unless that cuts a character in two."""
        context = self._window[-_CONTEXT_TOKENS:]
        if text.endswith(self._decode(context)):
            self._window = context
            self._known = len(context)

    def flush(self) -> str:
        before = self._decode(self._window[: self._known])
        text = self._decode(self._window)
        self._known = len(self._window)
        return text[len(before) :]
