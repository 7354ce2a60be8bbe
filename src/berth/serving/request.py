"""The canonical request and what comes back: the one shape that every dialect translates to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from berth.protocol.messages import FinishReason, TokenLogprob


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a dialog. `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a dialect asks for, its own defaults applied. Ranges are checked by `validate`."""

    max_tokens: int | None = None  # None: as far as the context reaches
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    logprobs: int | None = None  # alternatives per output token
    echo: bool = False  # the prompt's text (and logprobs, where asked for) before the output
    # Whether max_tokens is cut to what the context leaves (KAITO) or refused above it (OpenAI).
    clip_max_tokens: bool = False


@dataclass(frozen=True, slots=True)
class TokenText:
    """One output token with its own text, for logprobs."""

    logprob: TokenLogprob
    text: str
    top_texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one answer, as it arrives. Texts concatenated are the answer, exactly.

    A piece never ends inside a UTF-8 character and never holds text that may turn out to be the
    beginning of a stop string.
    """

    text: str
    tokens: int  # output tokens so far
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenText, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished answer."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    logprobs: tuple[TokenText, ...] = ()
