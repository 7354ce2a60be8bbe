"""OpenAI's request bodies, and what they mean.

null is the same as leaving a field out. What becomes of fields that are not in the structs here,
`fields` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import msgspec

from berth.server.body import decode
from berth.server.dialects.openai.fields import (
    EMPTY,
    REFUSED,
    REFUSED_IN_CHATS,
    Refused,
    leftover,
)
from berth.server.schema import INT32, Schema, bound, merged, number, stated
from berth.serving.chat_template import RESERVED_VARIABLES, ChatPrompt
from berth.serving.errors import InvalidRequest, ModelNotFound
from berth.serving.request import ChatOptions, Message, Options
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
_MAX_SHOWN = 128  # characters of a client's text that an error repeats
_ROLES = frozenset({"system", "user", "assistant", "tool", "function"})
_MEDIA = {
    "image_url": "images",
    "input_image": "images",
    "image": "images",
    "input_audio": "sounds",
    "audio": "sounds",
    "audio_url": "sounds",
    "video_url": "videos",
    "video": "videos",
    "file": "files",
    "input_file": "files",
}
_TEXTS = ("text", "input_text", "output_text")
_COMPLETION_TOKENS = 16  # OpenAI's default for completions


def _refused(fields: Mapping[str, Refused]) -> dict[str, Any]:
    """The schema of fields that are taken only where they ask for nothing."""
    return {
        "properties": {
            name: {"description": f"Refused: {rule.why}.", "enum": [*EMPTY, *rule.neutral]}
            for name, rule in sorted(fields.items())
        }
    }


def _only_with(field: str, value: Schema, other: str, needed: object) -> dict[str, Any]:
    """The schema of a field that may be so only where another is `needed`."""
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
                "properties": {"type": {"enum": [*_TEXTS]}, "text": {"type": "string"}},
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
            description="which of them the model knows, and in which order, its template says",
            enum=[*sorted(_ROLES), "developer"],
        ),
    ]
    content: str | list[ContentPart] | None = None
    tool_calls: Annotated[list[Any], stated(maxItems=0)] | None = None

    json_schema: ClassVar[Schema] = {
        "properties": {"content": {"not": {"type": "null"}}},
        "required": ["role", "content"],
    }


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
                "then": _at_most("min_tokens", _COMPLETION_TOKENS),
            },
            {"if": {"not": _given("n")}, "then": _at_most("best_of", 1)},
        ],
    }


# Not strict: 10.0 and "12" for an integer, "0.1" for a number, "true" for true, as pydantic's
# servers take them. What is no such number or word stays refused.
chat_request = msgspec.json.Decoder(ChatCompletionRequest, strict=False)
completion_request = msgspec.json.Decoder(CompletionRequest, strict=False)


def read_chat(body: bytes) -> tuple[ChatCompletionRequest, list[str]]:
    """The request, and the names of what in it means nothing here. Raises Malformed."""
    request = decode(chat_request, body)
    ignored = leftover(body, ChatCompletionRequest, REFUSED | REFUSED_IN_CHATS)
    if request.tools and request.tool_choice == "none":
        ignored.append("tools")
    return request, ignored


def read_completion(body: bytes) -> tuple[CompletionRequest, list[str]]:
    """The request, and the names of what in it means nothing here. Raises Malformed."""
    return decode(completion_request, body), leftover(body, CompletionRequest, REFUSED)


def model_of(asked: str | None, served: tuple[str, ...]) -> str:
    """The name to answer under: the one that was asked for, if it is one of ours."""
    if not asked:
        return served[0]
    if asked not in served:
        raise ModelNotFound(f"The model `{asked[:_MAX_SHOWN]}` does not exist")
    return asked


def check_counts(request: ChatCompletionRequest, max_model_len: int) -> None:
    """Refuse more messages, or parts of them, than a context of so many tokens can hold.

    Each takes a token at least, so nothing that fits is refused; what does not is not built first.
    Raises InvalidRequest.
    """
    if not max_model_len:
        return
    parts = sum(
        len(message.content) for message in request.messages if isinstance(message.content, list)
    )
    for count, what in ((len(request.messages), "entries"), (parts, "content parts")):
        if count > max_model_len:
            raise InvalidRequest(
                f"This model's maximum context length is {max_model_len} tokens. However, messages "
                f"has {count} {what}, and each takes at least one token. Please reduce the length "
                "of the messages.",
                "messages",
                "context_length_exceeded",
            )


def messages_of(request: ChatCompletionRequest) -> list[Message]:
    """The conversation in canonical form. Raises InvalidRequest."""
    if not request.messages:
        raise InvalidRequest("messages must hold at least one message", "messages")
    return [_message(message, index) for index, message in enumerate(request.messages)]


def template_options(request: ChatCompletionRequest) -> ChatOptions:
    """How the messages are written in the model's template. Raises InvalidRequest."""
    variables = dict(request.chat_template_kwargs or {})
    for name in RESERVED_VARIABLES & variables.keys():
        field = f"chat_template_kwargs.{name}"
        raise InvalidRequest(f"{field} is the server's own to set; leave it out", field)
    for name in ("enable_thinking", "reasoning_effort"):
        if (value := getattr(request, name)) is not None:
            variables.setdefault(name, value)
    if request.continue_final_message:
        if request.add_generation_prompt:
            raise InvalidRequest(
                "continue_final_message and add_generation_prompt exclude each other",
                "continue_final_message",
            )
        if request.messages and request.messages[-1].role != "assistant":
            raise InvalidRequest(
                "continue_final_message goes on with an assistant's message, and the last is the "
                f"{request.messages[-1].role[:_MAX_SHOWN]}'s",
                "continue_final_message",
            )
    return ChatOptions(
        add_generation_prompt=request.add_generation_prompt is not False
        and not request.continue_final_message,
        continue_final_message=bool(request.continue_final_message),
        merge=True,
        variables=variables,
    )


def chat_options(request: ChatCompletionRequest, timeout: float) -> Options:
    """How to generate. Raises InvalidRequest for what cannot be done."""
    for field, choice in (("tools", "tool_choice"), ("functions", "function_call")):
        chosen = getattr(request, choice)
        if getattr(request, field) and chosen != "none":
            raise InvalidRequest(f"{field} are not supported yet; leave the field out", field)
        if chosen not in (None, "", "none", "auto"):
            raise InvalidRequest(
                f'{choice} can be "none" or "auto"; {field} are not supported yet', choice
            )
    if request.response_format is not None and request.response_format.type != "text":
        raise InvalidRequest(
            'response_format.type other than "text" is not supported yet', "response_format"
        )
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true", "top_logprobs")
    limits = request.max_completion_tokens, request.max_tokens, request.max_new_tokens
    return replace(
        _options(request, timeout),
        max_tokens=next((limit for limit in limits if limit is not None), None),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def prompts_of(request: CompletionRequest) -> list[str | list[int]]:
    """Every prompt as text or token ids. Raises InvalidRequest."""
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise InvalidRequest("prompt must not be an empty array", "prompt")
    if all(isinstance(item, int) for item in prompt):
        return [[item for item in prompt if isinstance(item, int)]]
    prompts = [item for item in prompt if not isinstance(item, int)]
    if len({type(item) for item in prompt}) != 1:
        raise InvalidRequest(
            "prompt must be a string, or an array of strings, of token ids or of arrays of "
            "token ids, not a mixture",
            "prompt",
        )
    for index, item in enumerate(prompts):
        if item == []:
            raise InvalidRequest(f"prompt[{index}] holds no token ids", "prompt")
    return prompts


def completion_options(request: CompletionRequest, timeout: float) -> Options:
    """How to generate. Raises InvalidRequest for what cannot be done."""
    if request.suffix:
        raise InvalidRequest("suffix is not supported; leave the field out", "suffix")
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise InvalidRequest("best_of other than n is not supported", "best_of")
    limit = request.max_new_tokens if request.max_tokens is None else request.max_tokens
    return replace(
        _options(request, timeout),
        max_tokens=_COMPLETION_TOKENS if limit is None else limit,
        logprobs=request.logprobs,
        echo=bool(request.echo),
        continues_prompt=True,
    )


def choices_of(request: Sampling, prompts: int, max_choices: int, max_prompts: int) -> int:
    """`n`, if one call may ask for so many answers. Raises InvalidRequest."""
    n = request.n or 1
    if n > max_choices:
        raise InvalidRequest(f"n must be at most {max_choices}, not {n}", "n")
    if n * prompts > max_prompts:
        raise InvalidRequest(
            f"{prompts} prompts times n = {n} asks for {n * prompts} answers; "
            f"one call may ask for {max_prompts}",
            "n" if n > 1 else "prompt",
        )
    return n


def nth(options: Options, index: int) -> Options:
    """The options of choice `index`: a given seed gives each choice its own, in order."""
    if options.seed is None or index == 0:
        return options
    return replace(options, seed=(options.seed + index) % 2**63)


def wants_usage(request: Sampling) -> bool:
    """Whether a stream ends with the token counts."""
    return request.stream_options is not None and bool(request.stream_options.include_usage)


def _options(request: Sampling, timeout: float) -> Options:
    plain = (
        "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
        "frequency_penalty", "seed", "logit_bias", "ignore_eos", "min_tokens",
        "include_stop_str_in_output",
    )  # fmt: skip
    given = {name: getattr(request, name) for name in plain if getattr(request, name) is not None}
    stop = request.stop
    if stop:  # "" is what forms send that have none
        given["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    if request.stop_token_ids is not None:
        given["stop_token_ids"] = tuple(request.stop_token_ids)
    for name in ("allowed_token_ids", "bad_words"):
        if getattr(request, name):
            given[name] = tuple(getattr(request, name))
    return Options(timeout=timeout, **given)


def _message(message: ChatMessage, index: int) -> Message:
    field = f"messages[{index}]"
    if message.tool_calls:
        raise InvalidRequest(f"{field}.tool_calls are not supported yet", f"{field}.tool_calls")
    # "developer" is OpenAI's newer word for "system". Whether the model's template has a place for
    # the other roles is for serving to say.
    role = "system" if message.role == "developer" else message.role
    if role not in _ROLES:
        raise InvalidRequest(
            f"{field}.role must be one of {', '.join(sorted(_ROLES))} or developer, not "
            f"{role[:_MAX_SHOWN]!r}",
            f"{field}.role",
        )
    return Message(role, _text(message, field))


def _text(message: ChatMessage, field: str) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    if content is None:
        raise InvalidRequest(f"{field}.content is required", f"{field}.content")
    texts: list[str] = []
    for place, part in enumerate(content):
        where = f"{field}.content[{place}]"
        if part.type == "refusal" and part.refusal is not None:
            texts.append(part.refusal)
        elif part.type in _MEDIA:
            raise InvalidRequest(f"{where}: {_MEDIA[part.type]} are not supported", where)
        elif part.type not in _TEXTS or part.text is None:
            raise InvalidRequest(f'{where} must be a part of type "text" with a text', where)
        else:
            texts.append(part.text)
    return "\n".join(texts)  # as vLLM, llama.cpp and TensorRT-LLM join them


def truncated(prompt: list[int], keep: int | None, max_model_len: int) -> list[int]:
    """The last `keep` tokens of a prompt (-1: as many as the context holds beside one more)."""
    if keep is None:
        return prompt
    keep = max(max_model_len - 1, 1) if keep == -1 else keep
    if len(prompt) <= keep:
        return prompt
    kept = prompt[len(prompt) - keep :]
    return ChatPrompt(kept, prompt.stops) if isinstance(prompt, ChatPrompt) else kept
