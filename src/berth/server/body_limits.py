"""How much one request's body may hold, so that no body holds up the others' streams.

Decoding JSON is one call that holds the interpreter, and what it costs follows the number of values
far more than the number of bytes: four megabytes are decoded in 2 to 18 ms as text or numbers, and
in 100 ms as a million short lists. So values are counted while the body arrives, and one with too
many is refused before it is decoded, most of it unread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from berth.server.errors import TooManyBodies

_MIB = 1024 * 1024
# Bytes of a body for each token of the model's context: the text of the longest prompts, escaped.
_BYTES_A_TOKEN = 48
_LEAST_BYTES = 4 * _MIB
# What costs 0.1 µs or more to decode: lists, objects, strings. A message has at least five.
_LEAST_VALUES, _VALUES_A_TOKEN, _MOST_VALUES = 65_536, 2, 131_072
_MOST_NUMBERS = 393_216  # token ids, at 0.02 to 0.03 µs each
_SLICE = 64 * 1024  # bytes counted at once: at most 2 ms

_ESCAPE = re.compile(rb"\\.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What one body may hold."""

    context: int  # tokens that the model takes; 0: not known yet
    bytes: int
    values: int  # lists, objects and strings
    numbers: int  # commas, to be exact: every further entry of a list or an object

    def explained(self, sentence: str) -> str:
        """The sentence of a refusal, and what the limits follow from.

        In OpenAI's words, by which clients know that a prompt was too long for the model.
        """
        if not self.context:
            return sentence
        return (
            f"{sentence} This model's maximum context length is {self.context} tokens. Please "
            "reduce the length of the prompt."
        )


def limits_of(max_body_bytes: int, max_model_len: int) -> BodyLimits:
    """The limits for a model of `max_model_len` tokens (0: not known yet)."""
    return BodyLimits(
        context=max_model_len,
        bytes=min(max_body_bytes, max(_LEAST_BYTES, _BYTES_A_TOKEN * max_model_len)),
        values=min(_MOST_VALUES, _LEAST_VALUES + _VALUES_A_TOKEN * max_model_len),
        numbers=_MOST_NUMBERS,
    )


class ValueCounter:
    """Counts the JSON values of a body that comes in pieces, without decoding it.

    Of a body that is not JSON it counts something, in the same time.
    """

    def __init__(self) -> None:
        self.values = self.entries = 0
        self._in_string = False
        self._carried = b""  # a backslash at the end of a piece

    def feed(self, data: bytes) -> Iterator[None]:
        """Count; each step of the iterator takes about a millisecond."""
        for start in range(0, len(data), _SLICE):
            self._count(data[start : start + _SLICE])
            yield

    def _count(self, data: bytes) -> None:
        # Escapes stand in strings alone. Without them every quote opens or closes one.
        plain = _ESCAPE.sub(b"", self._carried + data)
        self._carried = b"\\" if plain.endswith(b"\\") else b""
        parts = plain.split(b'"')
        outside = b"".join(parts[1 if self._in_string else 0 :: 2])
        quotes = len(parts) - 1
        self.values += (quotes + (0 if self._in_string else 1)) // 2
        self._in_string ^= quotes % 2 == 1
        self.values += outside.count(b"[") + outside.count(b"{")
        self.entries += outside.count(b",")


class BodyBudget:
    """Bytes of all bodies that are being read at one time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextmanager
    def reading(self) -> Iterator[BodyShare]:
        """One body's share, given back at the end."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self.held -= share.held

    def take(self, size: int) -> None:
        """Raises TooManyBodies if that is more than is left; one body alone always has room."""
        if self.held and self.held + size > self._limit:
            raise TooManyBodies(
                "The server is reading as many large request bodies as it has memory for.",
                retry_after=1.0,
            )
        self.held += size


class BodyShare:
    """What one body holds of the budget, in bytes."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.held = 0

    def add(self, size: int) -> None:
        """Raises TooManyBodies."""
        self._budget.take(size)
        self.held += size
