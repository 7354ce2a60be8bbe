"""What a model is shown of a conversation: its last exchanges that there is room for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_NAME_CHARACTERS = 30  # as Local-LLM-API named a session by its first question


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question, and the answer that was given to it."""

    asked: str
    answered: str
    tokens: int  # of both together, by the tokenizer of the model that answered
    created_at: int  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Room:
    """How much of a conversation is shown: both bounds hold; None is no bound.

    Raises ValueError for a negative one.
    """

    exchanges: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("exchanges", "tokens"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}")


def window(newest_first: Iterable[Exchange], room: Room) -> list[Exchange]:
    """The last exchanges that there is room for, oldest first.

    It has no gaps: an exchange that is too long ends it, though an older one might have fitted. Of
    `newest_first` no more is read than is needed, so that a long history costs nothing.
    """
    found: list[Exchange] = []
    tokens = 0
    if room.exchanges == 0:
        return found
    for exchange in newest_first:
        tokens += exchange.tokens
        if room.tokens is not None and tokens > room.tokens:
            break
        found.append(exchange)
        if len(found) == room.exchanges:
            break
    found.reverse()
    return found


def name_of(asked: str) -> str:
    """What a session is called that nobody has named: the beginning of its first question."""
    line = " ".join(asked.split())
    return line if len(line) <= _NAME_CHARACTERS else line[:_NAME_CHARACTERS] + "..."
