"""The canonical request and what comes back: the one shape that every dialect translates to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from berth.protocol.messages import GenerateParams, TokenLogprob

# Why an answer ended, as clients see it; the engine's own reasons are the protocol's. What an
# engine calls "error" is raised and ends no answer; "cancelled" answers are given up.
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of a message that is text; the only kind that a model here is given yet."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function by the assistant, in a dialog's history."""

    name: str
    arguments: str  # a JSON object, as text
    id: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One turn of a dialog. `role` is "system", "user", "assistant" or "tool".

    `content` is a text, or its parts in their order; None if an assistant's message only calls
    tools.
    """

    role: str
    content: str | tuple[TextPart, ...] | None
    tool_calls: tuple[ToolCall, ...] = ()  # of the assistant's
    tool_call_id: str | None = None  # of a tool's: the call that it answers
    name: str | None = None  # of the participant or the tool

    @property
    def text(self) -> str:
        """All its text, a line break between parts (as vLLM, llama.cpp and TensorRT-LLM do)."""
        content = self.content
        if isinstance(content, str):
            return content
        return "\n".join(part.text for part in content or ())

    @property
    def plain(self) -> bool:
        """Whether it has nothing but a role and a content."""
        return not self.tool_calls and self.tool_call_id is None and self.name is None

    def texts(self) -> Iterator[str]:
        """Everything that a client wrote in it, but for its role."""
        yield self.text
        for call in self.tool_calls:
            yield call.name
            yield call.arguments
            yield call.id or ""
        yield self.tool_call_id or ""
        yield self.name or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """How a dialog is written in a template, and where the answer continues it."""

    add_generation_prompt: bool = True  # end where the assistant's answer begins
    continue_final_message: bool = False  # end inside the last message, the assistant's
    # Whether neighbours of one role may be written as one message, if the template wants it.
    merge: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)  # of a Jinja template


PLAINLY = ChatOptions()


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
    include_stop_str_in_output: bool = False
    allowed_token_ids: tuple[int, ...] = ()  # empty: all
    bad_words: tuple[str, ...] = ()  # that the output may not hold
    ignore_eos: bool = False
    min_tokens: int = 0
    logprobs: int | None = None  # alternatives per output token
    echo: bool = False  # the prompt's text (and logprobs, if asked for) before the output
    # Whether max_tokens is cut to what the context leaves (KAITO) or refused above it (OpenAI).
    clip_max_tokens: bool = False
    # OpenAI's range ends at 2; KAITO's has no end (math.inf).
    max_temperature: float = 2.0
    # Whether the output is read as the prompt's continuation, so that SentencePiece's leading space
    # stays ("Hello" + " world"), or stands alone, so that decoding drops it. Echo does the former.
    continues_prompt: bool = False
    timeout: float | None = None  # seconds from submission; None: the service's own limit
    # What only an engine with Hugging Face's generate computes (beams, n-gram bans …).
    generate: GenerateParams | None = None


@dataclass(frozen=True, slots=True)
class TokenText:
    """One token with the text that it added to the answer, for logprobs.

    The texts of an answer's tokens concatenated are the answer, exactly. So a control token has
    none, and of the tokens that make one character the last has it; `data` has the bytes of each.
    """

    logprob: TokenLogprob
    text: str
    top_texts: tuple[str, ...] = ()
    data: bytes = b""
    # False for the first token of an echoed prompt: nothing precedes it, render null.
    has_logprob: bool = True


class Said(msgspec.Struct, frozen=True, gc=False):
    """Text of an answer: what is meant for the reader, or what the model thinks before it."""

    kind: Literal["content", "reasoning"]
    text: str


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """What is added to one tool call of an answer: its id and name first, then its arguments."""

    index: int  # of the call in its answer
    arguments: str = ""  # to be appended to those before: a piece of JSON
    id: str | None = None
    name: str | None = None


Part = Said | ToolCallDelta


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A part of one answer, as it arrives. Texts concatenated are the answer, exactly.

    A piece never ends inside a UTF-8 character and never holds text that may turn out to be the
    beginning of a stop string.
    """

    text: str  # the content
    tokens: int  # output tokens so far, the prompt's not counted
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenText, ...] = ()
    parts: tuple[Part, ...] = ()  # in order, the content among them; empty: there is no other kind


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished answer."""

    text: str  # the content
    finish_reason: FinishReason
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    logprobs: tuple[TokenText, ...] = ()
    others: tuple[Answer, ...] = ()  # a beam search's further sequences, best first
    parts: tuple[Part, ...] = ()  # as a piece's
