"""OpenAI's request bodies: what decodes them, and what the OpenAPI document says of them.

null is the same as leaving a field out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from berth.server.dialects.openai.fields import EMPTY, REFUSED, REFUSED_IN_CHATS, Refused
from berth.server.schema import INT32, Schema, bound, merged, number, stated
from berth.serving.chat_template import RESERVED_VARIABLES
from berth.serving.validate import (
    MAX_BAD_WORDS,
    MAX_LOGIT_BIAS,
    MAX_STOP_CHARACTERS,
    MAX_STOP_TOKEN_IDS,
    MAX_STOPS,
)

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=INT32)]
_Room = Annotated[_Tokens, stated(minimum=1, **bound("room"))]
_Token = Annotated[_Tokens, stated(**bound("token"))]
_Choices = Annotated[int, msgspec.Meta(ge=1), stated(**bound("choices"))]
_Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Alternatives = Annotated[int, msgspec.Meta(ge=0, le=20)]
_Penalty = Annotated[float, stated(**number(-2, 2))]
_Stop = Annotated[str, stated(minLength=1, maxLength=MAX_STOP_CHARACTERS)]
ROLES = frozenset({"system", "user", "assistant", "tool", "function"})
TEXTS = ("text", "input_text", "output_text")
COMPLETION_TOKENS = 16  # OpenAI's default for completions


def _refused(fields: Mapping[str, Refused]) -> dict[str, Any]:
    """The schema of fields that are taken only if they ask for nothing."""
    return {
        "properties": {
            name: {"description": f"Refused: {rule.why}.", "enum": [*EMPTY, *rule.neutral]}
            for name, rule in sorted(fields.items())
        }
    }


def _only_with(field: str, value: Schema, other: str, needed: object) -> dict[str, Any]:
    """The schema of a field that may have this value only if another is `needed`."""
    return {
        "if": {"properties": {field: value}, "required": [field]},
        "then": {"properties": {other: {"const": needed}}, "required": [other]},
    }


def _given(field: str) -> dict[str, Any]:
    """The schema of a request that has a value for the field."""
    return {"properties": {field: {"not": {"type": "null"}}}, "required": [field]}


def _at_most(field: str, most: int) -> dict[str, Any]:
    return {"properties": {field: {"maximum": most}}}


def _several(item: Schema, most: str) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": item, **bound(most)}


_TOKEN: Schema = {"type": "integer", "minimum": 0, "maximum": INT32, **bound("token")}
_ROOM: Schema = {"type": "integer", "maximum": INT32, **bound("room")}


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream tells beside the answer."""

    include_usage: Annotated[
        bool | None, msgspec.Meta(description="a last chunk with the token counts")
    ] = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What both routes share."""

    model: Annotated[
        str | None,
        stated(description="an id of /v1/models; the served model by default", **bound("names")),
    ] = None
    temperature: Annotated[float, stated(**number(0, 2))] | None = None
    top_p: Annotated[float, stated(**number(0, 1, above=True))] | None = None
    n: _Choices | None = None
    seed: _Seed | None = None
    stop: (
        Annotated[str, stated(maxLength=MAX_STOP_CHARACTERS)]
        | Annotated[list[_Stop], stated(maxItems=MAX_STOPS)]
        | None
    ) = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: Annotated[
        dict[int, Annotated[float, stated(**number(-100, 100))]],
        stated(description="token id to bias", maxProperties=MAX_LOGIT_BIAS, **bound("token_keys")),
    ] | None = None  # fmt: skip
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    top_k: Annotated[
        int, msgspec.Meta(ge=-1, le=INT32, description="Berth's; 0 and -1: all")
    ] | None = None  # fmt: skip
    min_p: Annotated[float, stated(description="Berth's", **number(0, 1))] | None = None
    repetition_penalty: Annotated[
        float, stated(description="Berth's", **number(0, above=True))
    ] | None = None  # fmt: skip
    ignore_eos: Annotated[
        bool | None, msgspec.Meta(description="Berth's: go on after an end of sequence")
    ] = None
    min_tokens: Annotated[
        Annotated[_Tokens, stated(**bound("room"))] | None,
        msgspec.Meta(
            description="Berth's: no stop token before this many others; at most max_tokens"
        ),
    ] = None
    stop_token_ids: Annotated[
        Annotated[list[_Token], stated(maxItems=MAX_STOP_TOKEN_IDS)] | None,
        msgspec.Meta(description="Berth's: further ids that end the answer"),
    ] = None
    max_new_tokens: Annotated[
        _Room | None, msgspec.Meta(description="another name of max_tokens")
    ] = None
    allowed_token_ids: Annotated[
        Annotated[list[_Token], stated(**bound("vocabulary"))] | None,
        msgspec.Meta(description="vLLM's: the answer holds no other tokens"),
    ] = None
    bad_words: Annotated[
        Annotated[list[str], stated(maxItems=MAX_BAD_WORDS // 2)] | None,
        msgspec.Meta(description="vLLM's: words that the answer does not hold"),
    ] = None
    include_stop_str_in_output: Annotated[
        bool | None, msgspec.Meta(description="vLLM's: the answer ends with its stop string")
    ] = None
    truncate_prompt_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=-1, le=INT32), stated(**{"not": {"const": 0}})] | None,
        msgspec.Meta(description="vLLM's: keep so many tokens of the prompt's end; -1: as many as "
                     "the context holds"),
    ] = None  # fmt: skip


class ContentPart(msgspec.Struct, frozen=True):
    """A part of a message; only `text` parts (and what an assistant refused) are understood."""

    type: str
    text: str | None = None
    refusal: str | None = None

    json_schema: ClassVar[Schema] = {
        "anyOf": [
            {
                "properties": {"type": {"enum": [*TEXTS]}, "text": {"type": "string"}},
                "required": ["text"],
            },
            {
                "properties": {"type": {"const": "refusal"}, "refusal": {"type": "string"}},
                "required": ["refusal"],
            },
        ]
    }


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: Annotated[
        str,
        stated(
            description="the model's template says which of them it knows, and in which order",
            enum=[*sorted(ROLES), "developer"],
            **bound("roles"),
        ),
    ]
    content: str | list[ContentPart] | None = None
    tool_calls: Annotated[
        list[Any],
        stated(
            description="of an assistant's message, where the model's template writes them",
            maxItems=0,
            **bound("calls"),
        ),
    ] | None = None  # fmt: skip
    tool_call_id: Annotated[
        str | None, msgspec.Meta(description="of a tool's message: the call that it answers")
    ] = None
    name: Annotated[
        str | None, msgspec.Meta(description="for the model's template, where it writes names")
    ] = None

    json_schema: ClassVar[Schema] = {
        "required": ["role"],
        "allOf": [
            {
                "properties": {"content": {"not": {"type": "null"}}},
                "required": ["content"],
                **bound("said"),
            }
        ],
    }


class CalledFunction(msgspec.Struct, frozen=True):
    """What a tool call of the history called; `arguments` is a JSON object, mostly as text."""

    name: str
    arguments: str | dict[str, Any] | None = None


class MessageToolCall(msgspec.Struct, frozen=True):
    """A tool call of the history."""

    function: CalledFunction
    id: str | None = None
    type: str = "function"


class ResponseFormat(msgspec.Struct, frozen=True):
    """Only `text` is understood yet."""

    type: Annotated[str, stated(const="text")]


class ChatCompletionRequest(Sampling, frozen=True, kw_only=True):
    """The next message of a conversation."""

    messages: Annotated[list[ChatMessage], stated(minItems=1, **bound("context"))]
    max_completion_tokens: _Room | None = None
    max_tokens: Annotated[
        _Room | None, msgspec.Meta(description="older name of max_completion_tokens")
    ] = None
    logprobs: bool | None = None
    top_logprobs: _Alternatives | None = None
    tools: list[Any] | None = None
    tool_choice: Annotated[
        str | dict[str, Any] | None,
        stated(description='"none" leaves the tools aside', enum=["none", "auto", "", None]),
    ] = None
    functions: list[Any] | None = None
    function_call: Annotated[
        str | dict[str, Any] | None, stated(enum=["none", "auto", "", None])
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None,
        stated(
            description="vLLM's: variables of the chat template",
            propertyNames={"not": {"enum": sorted(RESERVED_VARIABLES)}},
        ),
    ] = None
    enable_thinking: Annotated[
        bool | None, msgspec.Meta(description="the template's variable of that name")
    ] = None
    reasoning_effort: Annotated[
        str | None, msgspec.Meta(description="the template's variable of that name")
    ] = None
    add_generation_prompt: Annotated[
        bool | None, msgspec.Meta(description="vLLM's: false ends the prompt after the messages")
    ] = None
    continue_final_message: Annotated[
        bool | None,
        msgspec.Meta(description="vLLM's: go on with the last message, the assistant's"),
    ] = None
    response_format: ResponseFormat | None = None

    json_schema: ClassVar[Schema] = {
        **_refused(REFUSED | REFUSED_IN_CHATS),
        "allOf": [
            _only_with("top_logprobs", {"type": "integer", "minimum": 1}, "logprobs", True),
            _only_with("tools", {"type": "array", "minItems": 1}, "tool_choice", "none"),
            _only_with("functions", {"type": "array", "minItems": 1}, "function_call", "none"),
            {
                "not": {
                    "properties": {
                        "continue_final_message": {"const": True},
                        "add_generation_prompt": {"const": True},
                    },
                    "required": ["continue_final_message", "add_generation_prompt"],
                }
            },
        ],
    }


class CompletionRequest(Sampling, frozen=True, kw_only=True):
    """What follows a prompt: text, several texts, token ids, or several lists of token ids."""

    prompt: str | list[str | int | list[int]]
    max_tokens: Annotated[
        Annotated[_Tokens, stated(**bound("room"))] | None,
        msgspec.Meta(description="16 by default; 0 with echo only"),
    ] = None
    logprobs: _Alternatives | None = None
    echo: bool | None = None
    best_of: Annotated[_Choices | None, msgspec.Meta(description="as n")] = None
    suffix: Annotated[str | None, stated(enum=["", None])] = None

    json_schema: ClassVar[Schema] = {
        **merged(
            _refused(REFUSED),
            {
                "properties": {
                    "prompt": {
                        "anyOf": [
                            {"type": "string"},
                            _several({"type": "string"}, "prompts"),
                            _several(_TOKEN, "prompt"),
                            _several(_several(_TOKEN, "prompt"), "prompts"),
                        ]
                    },
                    "max_new_tokens": {"anyOf": [{**_ROOM, "minimum": 0}, {"type": "null"}]},
                }
            },
        ),
        "allOf": [
            _only_with("max_tokens", {"const": 0}, "echo", True),
            _only_with("max_new_tokens", {"const": 0}, "echo", True),
            {
                "if": {"not": {"anyOf": [_given("max_tokens"), _given("max_new_tokens")]}},
                "then": _at_most("min_tokens", COMPLETION_TOKENS),
            },
            {"if": {"not": _given("n")}, "then": _at_most("best_of", 1)},
        ],
    }
