"""OpenAI's routes, under a prefix."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec
from fastapi import Request
from starlette.responses import Response

from berth.server.body import LARGE_BODY, read_body
from berth.server.callers import check_model, may_use
from berth.server.context import RequestContext, Server, context_of
from berth.server.dialects.openai import parse, render, stream
from berth.server.dialects.openai.bodies import (
    ChatCompletionRequest,
    CompletionRequest,
    Sampling,
)
from berth.server.errors import renamed
from berth.server.generate import answers, open_stream, submit_all
from berth.server.ignored import noted, noted_raw
from berth.server.reply import json_response
from berth.server.routes import Mount
from berth.serving import offload
from berth.serving.errors import InvalidRequest
from berth.serving.prompt import Prompt
from berth.serving.request import Answer, Options
from berth.serving.service import Generation, Service

T = TypeVar("T", bound=Sampling)


def mount(mount: Mount, server: Server, prefix: str = "/v1") -> None:
    """Add GET models, GET models/{id}, POST chat/completions and POST completions."""

    async def list_models(request: Request) -> Response:
        """The names of the served models, without those that the request's key may not use."""
        models = server.models
        may = partial(may_use, request.scope)
        names = [name for name in models.names if may(models.names_of(models.get(name)))]
        return json_response(render.ModelList(data=[_model(server, name) for name in names]))

    async def get_model(request: Request, model_id: str) -> Response:
        """One name of the served model; ids may hold slashes."""
        check_model(request.scope, server.models.names_of(server.models.get(model_id)))
        return json_response(_model(server, model_id))

    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await _chat(server, request)

    async def completions(request: Request) -> Response:
        """Complete one or several prompts."""
        return await _complete(server, request)

    mount.get(f"{prefix}/models", list_models, {200: render.ModelList})
    mount.get(f"{prefix}/models/{{model_id:path}}", get_model, {200: render.Model}, statuses=[404])
    mount.post(
        f"{prefix}/chat/completions", chat_completions,
        [ChatCompletionRequest], [render.ChatCompletion],
        example={"messages": [{"role": "user", "content": "What is the capital of France?"}]},
        stream=stream.CHAT_SHAPES, events=stream.CHAT_EVENTS, statuses=[404],
    )  # fmt: skip
    mount.post(
        f"{prefix}/completions", completions, [CompletionRequest], [render.Completion],
        example={"prompt": "Simply put, the theory of relativity states that", "max_tokens": 64},
        stream=stream.COMPLETION_SHAPES, events=stream.COMPLETION_EVENTS, statuses=[404],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Form:
    """What differs between the two routes' answers."""

    prefix: str  # of an answer's id
    object: str
    chunk_object: str
    chunks: type[stream.ChatChunks] | type[stream.CompletionChunks]
    choices: Callable[[Sequence[Answer], bool], Sequence[msgspec.Struct]]


_CHAT = _Form(
    "chatcmpl", "chat.completion", "chat.completion.chunk", stream.ChatChunks, render.chat_choices
)
_COMPLETION = _Form(
    "cmpl", "text_completion", "text_completion", stream.CompletionChunks,
    render.completion_choices,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A call that has been read: what to generate, and what the answer says beside it."""

    call: Sampling
    service: Service
    ignored: list[str]
    model: str
    prompts: Sequence[Prompt]
    options: Options
    n: int  # choices of each prompt
    logprobs: bool
    names: dict[str, str]  # how this client calls what serving's errors call otherwise


async def _chat(server: Server, request: Request) -> Response:
    settings, models = server.settings, server.models
    call, ignored = await _read(server, request, parse.read_chat)
    model = models.get(call.model)
    parse.check_counts(call, model.service.max_model_len)
    options = parse.chat_options(call, settings.request_timeout_seconds)
    n = parse.choices_of(call, 1, settings.max_choices, settings.max_prompts_per_call)
    written = parse.template_options(call)
    service = await server.acquire(request, call.model)
    ignored += sorted(written.variables.keys() - service.template_variables)
    ignored += parse.unwritten(call, service.template_fields)
    messages = parse.messages_of(call, service.template_fields)
    prompt = await offload.render_chat(service, messages, written)
    prompt = parse.truncated(prompt, call.truncate_prompt_tokens, service.max_model_len)
    asked = _Asked(
        call=call, service=service, ignored=ignored, model=call.model or model.name,
        prompts=[prompt], options=options, n=n,
        logprobs=bool(call.logprobs), names=_chat_names(call),
    )  # fmt: skip
    return await _generated(server, request, asked, _CHAT)


async def _complete(server: Server, request: Request) -> Response:
    settings, models = server.settings, server.models
    call, ignored = await _read(server, request, parse.read_completion)
    model = models.get(call.model)
    options = parse.completion_options(call, settings.request_timeout_seconds)
    given = parse.prompts_of(call)
    n = parse.choices_of(call, len(given), settings.max_choices, settings.max_prompts_per_call)
    keep = call.truncate_prompt_tokens
    service = await server.acquire(request, call.model)
    prompts = [
        parse.truncated(prompt, keep, service.max_model_len)
        for prompt in await offload.encode_all(service, given)
    ]
    asked = _Asked(
        call=call, service=service, ignored=ignored, model=call.model or model.name,
        prompts=prompts, options=options, n=n,
        logprobs=call.logprobs is not None, names={"messages": "prompt"},
    )  # fmt: skip
    return await _generated(server, request, asked, _COMPLETION)


async def _read(
    server: Server, request: Request, read: Callable[[bytes], tuple[T, list[str]]]
) -> tuple[T, list[str]]:
    """The call, and the names of what in it means nothing here."""
    body = await read_body(server, request.scope, request.receive)
    return await offload.run(len(body) > LARGE_BODY, read, body)


async def _generated(server: Server, request: Request, asked: _Asked, form: _Form) -> Response:
    """Generate, and answer as a stream or at once."""
    context = context_of(request.scope)
    generations = _submit(context, asked)
    head = {
        "id": f"{form.prefix}-{context.request_id}",
        "object": form.chunk_object if asked.call.stream else form.object,
        "created": int(time.time()),
        "model": asked.model,
    }
    if asked.call.stream:
        usage = None
        if parse.wants_usage(asked.call):
            usage = partial(_usage_so_far, generations, asked.n, context)
        chunks = form.chunks(head, len(generations), usage, asked.logprobs)
        return await open_stream(server, request, generations, chunks, noted_raw(asked.ignored))
    finished = await answers(server, request, generations)
    choices = await offload.run(
        asked.logprobs and render.is_large(finished),
        render.encoded,
        form.choices,
        finished,
        asked.logprobs,
    )
    usage_now = _usage_so_far(generations, asked.n, context)
    answer = {**head, "choices": choices, "usage": usage_now}
    return json_response(answer, headers=noted(asked.ignored))


def _submit(context: RequestContext, asked: _Asked) -> list[Generation]:
    """`n` generations of every prompt, those of the first prompt first."""
    wanted = [
        (prompt, parse.nth(asked.options, choice))
        for prompt in asked.prompts
        for choice in range(asked.n)
    ]
    try:
        return submit_all(asked.service, wanted, context.request_id)
    except InvalidRequest as error:
        raise renamed(error, asked.names) from None


def _chat_names(call: ChatCompletionRequest) -> dict[str, str]:
    if call.max_completion_tokens is None:
        return {"prompt": "messages"}
    return {"prompt": "messages", "max_tokens": "max_completion_tokens"}


def _usage_so_far(
    generations: Sequence[Generation], n: int, context: RequestContext
) -> render.Usage:
    # A prompt is counted once, however many choices were made from it.
    prompts = generations[::n]
    return render.usage_of(
        sum(generation.prompt_tokens for generation in prompts),
        context.output_tokens,
        sum(generation.cached_tokens for generation in prompts),
    )


def _model(server: Server, name: str) -> render.Model:
    service = server.models.get(name).service
    return render.Model(
        id=name, created=service.created, max_model_len=service.max_model_len or None
    )
