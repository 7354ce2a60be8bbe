"""OpenAI's request bodies, and what they mean.

Fields that OpenAI has and Berth does not know are ignored, as its own clients expect; null is
the same as leaving a field out. What would change the answer and cannot be done is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import msgspec

from berth.serving.errors import InvalidRequest, ModelNotFound
from berth.serving.request import Message, Options

_INT32 = 2**31 - 1
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=_INT32)]
_Choices = Annotated[int, msgspec.Meta(ge=1)]
_TopK = Annotated[int, msgspec.Meta(ge=-1, le=_INT32, description="Berth's; 0 and -1: all")]
_Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Alternatives = Annotated[int, msgspec.Meta(ge=0, le=20)]
_MAX_SHOWN = 128  # characters of a client's text that an error repeats
_COMPLETION_TOKENS = 16  # OpenAI's default for completions


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream tells beside the answer."""

    include_usage: Annotated[
        bool | None, msgspec.Meta(description="a last chunk with the token counts")
    ] = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What both routes share."""

    model: Annotated[
        str | None, msgspec.Meta(description="an id of /v1/models; the served model by default")
    ] = None
    temperature: float | None = None
    top_p: float | None = None
    n: _Choices | None = None
    seed: _Seed | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Annotated[dict[int, float] | None, msgspec.Meta(description="token id to bias")] = (
        None
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    top_k: _TopK | None = None
    min_p: Annotated[float, msgspec.Meta(description="Berth's")] | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(description="Berth's")] | None = None
    ignore_eos: Annotated[
        bool | None, msgspec.Meta(description="Berth's: go on after an end of sequence")
    ] = None
    min_tokens: Annotated[
        _Tokens | None, msgspec.Meta(description="Berth's: no stop token before this many others")
    ] = None
    stop_token_ids: Annotated[
        list[_Tokens] | None, msgspec.Meta(description="Berth's: further ids that end the answer")
    ] = None


class ContentPart(msgspec.Struct, frozen=True):
    """A part of a message; only `text` parts are understood."""

    type: str
    text: str | None = None


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: Annotated[
        str, msgspec.Meta(description="system, developer, user, assistant, tool or function")
    ]
    content: str | list[ContentPart] | None = None
    tool_calls: list[Any] | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """Only `text` is understood yet."""

    type: str


class ChatCompletionRequest(Sampling, frozen=True, kw_only=True):
    """The next message of a conversation."""

    messages: list[ChatMessage]
    max_completion_tokens: _Tokens | None = None
    max_tokens: Annotated[
        _Tokens | None, msgspec.Meta(description="older name of max_completion_tokens")
    ] = None
    logprobs: bool | None = None
    top_logprobs: _Alternatives | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: ResponseFormat | None = None


class CompletionRequest(Sampling, frozen=True, kw_only=True):
    """What follows a prompt: text, several texts, token ids, or several lists of token ids."""

    prompt: str | list[str | int | list[int]]
    max_tokens: Annotated[_Tokens | None, msgspec.Meta(description="16 by default")] = None
    logprobs: _Alternatives | None = None
    echo: bool | None = None
    best_of: _Choices | None = None
    suffix: str | None = None


chat_request = msgspec.json.Decoder(ChatCompletionRequest)
completion_request = msgspec.json.Decoder(CompletionRequest)


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


def chat_options(request: ChatCompletionRequest, timeout: float) -> Options:
    """How to generate. Raises InvalidRequest for what cannot be done."""
    for field in ("tools", "functions"):
        if getattr(request, field):
            raise InvalidRequest(f"{field} are not supported yet; leave the field out", field)
    if request.response_format is not None and request.response_format.type != "text":
        raise InvalidRequest(
            'response_format.type other than "text" is not supported yet', "response_format"
        )
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true", "top_logprobs")
    limit = request.max_completion_tokens
    return replace(
        _options(request, timeout),
        max_tokens=request.max_tokens if limit is None else limit,
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
    limit = request.max_tokens
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
    )  # fmt: skip
    given = {name: getattr(request, name) for name in plain if getattr(request, name) is not None}
    stop = request.stop
    if stop is not None:
        given["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    if request.stop_token_ids is not None:
        given["stop_token_ids"] = tuple(request.stop_token_ids)
    return Options(timeout=timeout, **given)


def _message(message: ChatMessage, index: int) -> Message:
    field = f"messages[{index}]"
    if message.tool_calls:
        raise InvalidRequest(f"{field}.tool_calls are not supported yet", f"{field}.tool_calls")
    # "developer" is OpenAI's newer word for "system". Whether the model's template has a place for
    # the other roles is for serving to say.
    role = "system" if message.role == "developer" else message.role
    return Message(role, _text(message, field))


def _text(message: ChatMessage, field: str) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    if content is None:
        raise InvalidRequest(f"{field}.content is required", f"{field}.content")
    texts: list[str] = []
    for number, part in enumerate(content):
        if part.type != "text" or part.text is None:
            where = f"{field}.content[{number}]"
            raise InvalidRequest(f'{where} must be a part of type "text" with a text', where)
        texts.append(part.text)
    return "".join(texts)
