"""What OpenAI's request bodies mean.

What becomes of fields that the bodies' structs do not have, `fields` says.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NoReturn

import msgspec

from berth.server.body import decode
from berth.server.dialects.openai.bodies import (
    COMPLETION_TOKENS,
    ROLES,
    TEXTS,
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    MessageToolCall,
    Sampling,
)
from berth.server.dialects.openai.fields import REFUSED, REFUSED_IN_CHATS, leftover
from berth.server.reply import encode
from berth.serving.chat_template import RESERVED_VARIABLES
from berth.serving.dialog import no_calls
from berth.serving.errors import InvalidRequest
from berth.serving.prompt import Prompt
from berth.serving.request import ChatOptions, Message, Options, TextPart, ToolCall

_MAX_SHOWN = 128  # characters of a client's text that an error repeats
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


def check_counts(request: ChatCompletionRequest, max_model_len: int) -> None:
    """Refuse more messages, or parts of them, than a context of so many tokens can hold.

    Each takes a token at least, so nothing that fits is refused; what does not is not built first.
    Raises InvalidRequest.
    """
    if not max_model_len:
        return
    messages = request.messages
    parts = sum(len(m.content) for m in messages if isinstance(m.content, list))
    calls = sum(len(m.tool_calls) for m in messages if m.tool_calls)
    counts = ((len(messages), "entries"), (parts, "content parts"), (calls, "tool calls"))
    for count, what in counts:
        if count > max_model_len:
            raise InvalidRequest(
                f"This model's maximum context length is {max_model_len} tokens. However, messages "
                f"has {count} {what}, and each takes at least one token. Please reduce the length "
                "of the messages.",
                "messages",
                "context_length_exceeded",
            )


def messages_of(request: ChatCompletionRequest, fields: frozenset[str]) -> list[Message]:
    """The conversation in canonical form, for a template that writes these fields of messages.

    Raises InvalidRequest.
    """
    if not request.messages:
        raise InvalidRequest("messages must hold at least one message", "messages")
    return [_message(message, index, fields) for index, message in enumerate(request.messages)]


def unwritten(request: ChatCompletionRequest, fields: frozenset[str]) -> list[str]:
    """What the messages have that the template does not write, and that is left aside."""
    if "name" in fields or not any(m.name for m in request.messages if m.role != "tool"):
        return []
    return ["messages.name"]


def template_options(request: ChatCompletionRequest) -> ChatOptions:
    """How the messages are written in the model's template. Raises InvalidRequest."""
    variables = dict(request.chat_template_kwargs or {})
    for name in RESERVED_VARIABLES & variables.keys():
        field = f"chat_template_kwargs.{name}"
        raise InvalidRequest(f"{field} is set by the server; leave it out", field)
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
        max_tokens=COMPLETION_TOKENS if limit is None else limit,
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


def _message(message: ChatMessage, index: int, fields: frozenset[str]) -> Message:
    field = f"messages[{index}]"
    if message.tool_calls and "tool_calls" not in fields:
        raise no_calls(index)
    # "developer" is OpenAI's newer word for "system". Whether the model's template has a place for
    # the other roles is for serving to say.
    role = "system" if message.role == "developer" else message.role
    if role not in ROLES:
        raise InvalidRequest(
            f"{field}.role must be one of {', '.join(sorted(ROLES))} or developer, not "
            f"{role[:_MAX_SHOWN]!r}",
            f"{field}.role",
        )
    content = _content(message, field)
    calls = _calls(message.tool_calls, role, field) if message.tool_calls else ()
    return Message(role, content, calls, message.tool_call_id, message.name)


def _calls(given: list[Any], role: str, field: str) -> tuple[ToolCall, ...]:
    if role != "assistant":
        raise InvalidRequest(
            f"{field}.tool_calls are an assistant's; this message is the {role}'s",
            f"{field}.tool_calls",
        )
    return tuple(_call(call, f"{field}.tool_calls[{n}]") for n, call in enumerate(given))


def _call(given: object, field: str) -> ToolCall:
    try:
        call = msgspec.convert(given, MessageToolCall)
    except msgspec.ValidationError:
        raise InvalidRequest(
            f'{field} must be {{"id": "…", "type": "function", "function": {{"name": "…", '
            '"arguments": "…"}}',
            field,
        ) from None
    if call.type != "function":
        raise InvalidRequest(f'{field}.type must be "function"', f"{field}.type")
    arguments = call.function.arguments
    if isinstance(arguments, dict):
        arguments = encode(arguments).decode()
    elif not arguments or arguments.isspace():
        arguments = "{}"  # of a function without any
    else:
        _check_object(arguments, f"{field}.function.arguments")
    return ToolCall(call.function.name, arguments, call.id)


def _check_object(text: str, field: str) -> None:
    try:
        known = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict):
        raise InvalidRequest(f"{field} must be a JSON object, written as text", field)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _content(message: ChatMessage, field: str) -> str | tuple[TextPart, ...] | None:
    content = message.content
    if isinstance(content, str):
        return content
    if content is None:
        if message.tool_calls:
            return None
        raise InvalidRequest(f"{field}.content is required", f"{field}.content")
    texts: list[str] = []
    for place, part in enumerate(content):
        where = f"{field}.content[{place}]"
        if part.type == "refusal" and part.refusal is not None:
            texts.append(part.refusal)
        elif part.type in _MEDIA:
            raise InvalidRequest(f"{where}: {_MEDIA[part.type]} are not supported", where)
        elif part.type not in TEXTS or part.text is None:
            raise InvalidRequest(f'{where} must be a part of type "text" with a text', where)
        else:
            texts.append(part.text)
    return tuple(map(TextPart, texts))


def truncated(prompt: Prompt, keep: int | None, max_model_len: int) -> Prompt:
    """The last `keep` tokens of a prompt (-1: as many as the context holds beside one more)."""
    if keep is None:
        return prompt
    return prompt.last(max(max_model_len - 1, 1) if keep == -1 else keep)
