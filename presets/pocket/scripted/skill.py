"""What a skill is: templates that ask, slots that vary, and one function that answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Draw = Callable[[random.Random], dict[str, str]]
Answer = Callable[[Mapping[str, str]], str]


@dataclass(frozen=True)
class Skill:
    """One family of questions with the same shape of answer.

    ``weight`` is the share of the corpus relative to other skills; ``noise`` scales the typing
    noise (0 where every word matters); ``wrap`` says whether polite openers and closers fit.
    ``draw`` chooses slot values that depend on each other; without it each is drawn alone.
    ``emoji`` is the answer under a system prompt that asks for emojis.
    """

    name: str
    templates: Sequence[str]
    answer: Answer
    slots: Mapping[str, Sequence[str]] = field(default_factory=dict)
    weight: float = 1.0
    noise: float = 1.0
    wrap: bool = True
    end: str = "?"
    emoji: Answer | None = None
    draw: Draw | None = None


def fact(
    name: str,
    answer: str,
    *templates: str,
    weight: float = 1.0,
    noise: float = 1.0,
    wrap: bool = True,
    end: str = "?",
    emoji: str | None = None,
    slots: Mapping[str, Sequence[str]] | None = None,
) -> Skill:
    """Many ways to ask, one answer whatever stands in the slots."""
    return Skill(
        name,
        templates,
        lambda _: answer,
        slots or {},
        weight=weight,
        noise=noise,
        wrap=wrap,
        end=end,
        emoji=None if emoji is None else lambda _: emoji,
    )
