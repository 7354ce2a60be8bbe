"""OpenAI's answers: the shapes of models, chat completions and completions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from berth.server.reply import encode
from berth.serving.request import Answer, Part, Said, TokenText, ToolCallDelta

# OpenAI's reasons that an answer of ours can end for.
FinishReason = Literal["stop", "length"]
ChatFinishReason = FinishReason | Literal["tool_calls"]  # the last: it stopped after calling tools
_NO_CHANCE = -9999.0  # JSON has no -Infinity; vLLM writes this too


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is served here."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "berth"
    max_model_len: int | None  # null while the model is being loaded


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All names of the served model."""

    object: str = "list"
    data: list[Model]


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """How much of the prompt was found in the prefix cache."""

    cached_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """What a call cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TopLogprob(msgspec.Struct, frozen=True):
    """A token that could have been chosen."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(msgspec.Struct, frozen=True):
    """A chosen token."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """Of every token of the content."""

    content: list[TokenLogprobs]


class CalledFunction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tool call calls; `arguments` is JSON, or in a chunk what is added to it."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that the model calls."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class ToolCallChunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to a tool call: id, type and name first, then arguments."""

    index: int
    id: str | None = None
    type: str | None = None
    function: CalledFunction | None = None


class AssistantMessage(msgspec.Struct, frozen=True):
    """The model's message; `content` is null if it only calls tools."""

    content: str | None
    role: str = "assistant"
    refusal: str | None = None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET  # as vLLM and DeepSeek name it
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    """One of `n` answers."""

    index: int
    message: AssistantMessage
    finish_reason: ChatFinishReason
    logprobs: ChatLogprobs | None = None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of POST /v1/chat/completions."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """Of every token of the text; offsets count characters from the text's beginning."""

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class CompletionChoice(msgspec.Struct, frozen=True):
    """One of `n` answers to one prompt."""

    index: int
    text: str
    finish_reason: FinishReason
    logprobs: CompletionLogprobs | None = None


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of POST /v1/completions."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class ChatDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to the message: first the role, then one of the others."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallChunk] | None = None


class ChatChunkChoice(msgspec.Struct, frozen=True):
    """Of one of `n` answers; `finish_reason` is the last's."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinishReason | None


class ChatCompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the stream of POST /v1/chat/completions."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class CompletionChunkChoice(msgspec.Struct, frozen=True):
    """Of one of `n` answers; `finish_reason` is the last's."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class CompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the stream of POST /v1/completions."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChunkChoice]
    usage: Usage | None = None


def usage_of(prompt_tokens: int, output_tokens: int, cached_tokens: int) -> Usage:
    """The token counts of one call."""
    return Usage(
        prompt_tokens,
        output_tokens,
        prompt_tokens + output_tokens,
        PromptTokensDetails(cached_tokens),
    )


# Alternatives of tokens: about 2 ms of rendering.
_MANY = 2_000


def is_large(answers: Sequence[Answer]) -> bool:
    """Whether the log probabilities of these answers take long to render."""
    return sum(len(token.top_texts) + 1 for a in answers for token in a.logprobs) > _MANY


def encoded(
    render: Callable[[Sequence[Answer], bool], Sequence[msgspec.Struct]],
    answers: Sequence[Answer],
    logprobs: bool,
) -> list[msgspec.Raw]:
    """Every choice as JSON, each encoded alone: no single call of the encoder is long."""
    return [
        msgspec.Raw(encode(msgspec.structs.replace(choice, index=index)))
        for index, answer in enumerate(answers)
        for choice in render([answer], logprobs)
    ]


def chat_choices(answers: Sequence[Answer], logprobs: bool) -> list[ChatChoice]:
    """All choices of a chat completion."""
    return [
        ChatChoice(
            index,
            _message(answer),
            chat_reason(_reason_of(answer), answer.parts),
            ChatLogprobs(chat_logprobs(answer.logprobs)) if logprobs else None,
        )
        for index, answer in enumerate(answers)
    ]


def delta_of(part: Part) -> ChatDelta:
    """A part of an answer as a chunk has it: the one place that knows the kinds in a stream."""
    if isinstance(part, Said):
        if part.kind == "reasoning":
            return ChatDelta(reasoning_content=part.text)
        return ChatDelta(content=part.text)
    begins = part.id is not None or part.name is not None
    function = CalledFunction(part.name, part.arguments)
    return ChatDelta(
        tool_calls=[ToolCallChunk(part.index, part.id, "function" if begins else None, function)]
    )


def chat_reason(reason: FinishReason, parts: Sequence[Part]) -> ChatFinishReason:
    """Why the answer ended: an answer that stopped after it called tools waits for them."""
    if reason == "stop" and any(isinstance(part, ToolCallDelta) for part in parts):
        return "tool_calls"
    return reason


def _message(answer: Answer) -> AssistantMessage:
    """The whole message, its parts put together by their kinds."""
    if not answer.parts:
        return AssistantMessage(answer.text)
    reasoning = [p.text for p in answer.parts if isinstance(p, Said) and p.kind == "reasoning"]
    calls: dict[int, ToolCall] = {}
    for part in answer.parts:
        if isinstance(part, ToolCallDelta):
            known = calls.get(part.index, ToolCall("", CalledFunction("", "")))
            arguments = (known.function.arguments or "") + part.arguments
            function = CalledFunction(part.name or known.function.name, arguments)
            calls[part.index] = ToolCall(part.id or known.id, function)
    return AssistantMessage(
        answer.text or (None if calls else ""),
        reasoning_content="".join(reasoning) if reasoning else msgspec.UNSET,
        tool_calls=list(calls.values()) if calls else msgspec.UNSET,
    )


def completion_choices(answers: Sequence[Answer], logprobs: bool) -> list[CompletionChoice]:
    """All choices of a completion: those of the first prompt first."""
    return [
        CompletionChoice(
            index,
            answer.text,
            _reason_of(answer),
            completion_logprobs(answer.logprobs, 0) if logprobs else None,
        )
        for index, answer in enumerate(answers)
    ]


def chat_logprobs(tokens: Sequence[TokenText]) -> list[TokenLogprobs]:
    """Tokens in the chat route's form."""
    return [
        TokenLogprobs(
            token.text,
            _finite(token.logprob.logprob),
            list(token.data or _bytes(token.text)),
            [
                TopLogprob(text, _finite(logprob), list(_bytes(text)))
                for (_, logprob), text in zip(token.logprob.top, token.top_texts, strict=True)
            ],
        )
        for token in tokens
    ]


def completion_logprobs(tokens: Sequence[TokenText], offset: int) -> CompletionLogprobs:
    """Tokens in the completion route's form, the first of them at character `offset`."""
    rendered = CompletionLogprobs([], [], [], [])
    for token in tokens:
        rendered.text_offset.append(offset)
        offset += len(token.text)
        rendered.tokens.append(token.text)
        if not token.has_logprob:
            rendered.token_logprobs.append(None)
            rendered.top_logprobs.append(None)
            continue
        rendered.token_logprobs.append(_finite(token.logprob.logprob))
        alternatives = zip(token.top_texts, token.logprob.top, strict=True)
        top = {text: _finite(logprob) for text, (_, logprob) in alternatives}
        top.setdefault(token.text, _finite(token.logprob.logprob))
        rendered.top_logprobs.append(top)
    return rendered


def _reason_of(answer: Answer) -> FinishReason:
    assert answer.finish_reason != "cancelled"  # which is an error, and is rendered as one
    return answer.finish_reason


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _NO_CHANCE


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
