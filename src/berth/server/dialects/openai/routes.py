"""OpenAI's routes, under a prefix."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from berth.server.body import LARGE_BODY, read_body
from berth.server.context import RequestContext, Server, context_of
from berth.server.dialects.openai import parse, render, stream
from berth.server.errors import renamed
from berth.server.generate import answers, open_stream, submit_all
from berth.server.ignored import noted, noted_raw
from berth.server.reply import json_response
from berth.server.schema import Documented
from berth.serving import offload
from berth.serving.errors import InvalidRequest
from berth.serving.request import Options
from berth.serving.service import Generation

_TAG = "openai"
_ERRORS: dict[int, type[msgspec.Struct]] = dict.fromkeys(
    (400, 401, 403, 404, 408, 413, 415, 429, 500, 503), render.ErrorEnvelope
)


def mount(app: FastAPI, server: Server, documented: Documented, prefix: str = "/v1") -> None:
    """Add GET models, GET models/{id}, POST chat/completions and POST completions."""

    async def list_models() -> Response:
        """The names of the served model."""
        models = [_model(server, name) for name in _names(server)]
        return json_response(render.ModelList(data=models))

    async def get_model(model_id: str) -> Response:
        """One name of the served model; ids may hold slashes."""
        return json_response(_model(server, parse.model_of(model_id, _names(server))))

    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await _chat(server, request)

    async def completions(request: Request) -> Response:
        """Complete one or several prompts."""
        return await _complete(server, request)

    documented.get(
        app, f"{prefix}/models", list_models, _TAG,
        {200: render.ModelList, 401: render.ErrorEnvelope},
    )  # fmt: skip
    documented.get(
        app, f"{prefix}/models/{{model_id:path}}", get_model, _TAG,
        {200: render.Model, 401: render.ErrorEnvelope, 404: render.ErrorEnvelope},
    )  # fmt: skip
    documented.post(
        app, f"{prefix}/chat/completions", chat_completions, _TAG, parse.ChatCompletionRequest,
        {200: render.ChatCompletion, **_ERRORS},
        example={"messages": [{"role": "user", "content": "What is the capital of France?"}]},
        events=stream.CHAT_EVENTS,
    )  # fmt: skip
    documented.post(
        app, f"{prefix}/completions", completions, _TAG, parse.CompletionRequest,
        {200: render.Completion, **_ERRORS},
        example={"prompt": "Simply put, the theory of relativity states that", "max_tokens": 64},
        events=stream.COMPLETION_EVENTS,
    )  # fmt: skip


async def _chat(server: Server, request: Request) -> Response:
    settings = server.settings
    body = await read_body(server, request.scope, request.receive)
    call, ignored = await offload.run(len(body) > LARGE_BODY, parse.read_chat, body)
    del body
    parse.check_counts(call, server.service.max_model_len)
    model = parse.model_of(call.model, _names(server))
    options = parse.chat_options(call, settings.request_timeout_seconds)
    n = parse.choices_of(call, 1, settings.max_choices, settings.max_prompts_per_call)
    written = parse.template_options(call)
    ignored += sorted(written.variables.keys() - server.service.template_variables)
    prompt = await offload.render_chat(server.service, parse.messages_of(call), written)
    prompt = parse.truncated(prompt, call.truncate_prompt_tokens, server.service.max_model_len)
    context = context_of(request.scope)
    generations = _submit(server, context, [prompt], options, n, _chat_names(call))
    head = _head("chatcmpl", "chat.completion.chunk" if call.stream else "chat.completion",
                 context, model)  # fmt: skip
    logprobs = bool(call.logprobs)
    if call.stream:
        usage = _usage_later(context, generations, n) if parse.wants_usage(call) else None
        chunks = stream.ChatChunks(head, len(generations), usage, logprobs)
        return await open_stream(server, request, generations, chunks, noted_raw(ignored))
    finished = await answers(server, request, generations)
    usage_now = _usage(generations, n, sum(answer.output_tokens for answer in finished))
    choices = await offload.run(
        logprobs and render.is_large(finished),
        render.encoded,
        render.chat_choices,
        finished,
        logprobs,
    )
    answer = {**head, "choices": choices, "usage": usage_now}
    return json_response(answer, headers=noted(ignored))


async def _complete(server: Server, request: Request) -> Response:
    settings = server.settings
    body = await read_body(server, request.scope, request.receive)
    call, ignored = await offload.run(len(body) > LARGE_BODY, parse.read_completion, body)
    del body
    model = parse.model_of(call.model, _names(server))
    options = parse.completion_options(call, settings.request_timeout_seconds)
    asked = parse.prompts_of(call)
    n = parse.choices_of(call, len(asked), settings.max_choices, settings.max_prompts_per_call)
    keep, context_length = call.truncate_prompt_tokens, server.service.max_model_len
    prompts = [
        parse.truncated(prompt, keep, context_length)
        for prompt in await offload.encode_all(server.service, asked)
    ]
    context = context_of(request.scope)
    generations = _submit(server, context, prompts, options, n, {"messages": "prompt"})
    head = _head("cmpl", "text_completion", context, model)
    logprobs = call.logprobs is not None
    if call.stream:
        usage = _usage_later(context, generations, n) if parse.wants_usage(call) else None
        chunks = stream.CompletionChunks(head, len(generations), usage, logprobs)
        return await open_stream(server, request, generations, chunks, noted_raw(ignored))
    finished = await answers(server, request, generations)
    usage_now = _usage(generations, n, sum(answer.output_tokens for answer in finished))
    choices = await offload.run(
        logprobs and render.is_large(finished),
        render.encoded,
        render.completion_choices,
        finished,
        logprobs,
    )
    answer = {**head, "choices": choices, "usage": usage_now}
    return json_response(answer, headers=noted(ignored))


def _submit(
    server: Server,
    context: RequestContext,
    prompts: Sequence[Sequence[int]],
    options: Options,
    n: int,
    names: dict[str, str],
) -> list[Generation]:
    """`n` generations of every prompt, those of the first prompt first.

    `names`: how this client calls what serving's errors call otherwise.
    """
    wanted = [(prompt, parse.nth(options, choice)) for prompt in prompts for choice in range(n)]
    try:
        return submit_all(server.service, wanted, context.request_id)
    except InvalidRequest as error:
        raise renamed(error, names) from None


def _chat_names(call: parse.ChatCompletionRequest) -> dict[str, str]:
    if call.max_completion_tokens is None:
        return {"prompt": "messages"}
    return {"prompt": "messages", "max_tokens": "max_completion_tokens"}


def _usage(generations: Sequence[Generation], n: int, output_tokens: int) -> render.Usage:
    # A prompt is counted once, however many choices were made from it.
    prompts = generations[::n]
    return render.usage_of(
        sum(generation.prompt_tokens for generation in prompts),
        output_tokens,
        sum(generation.cached_tokens for generation in prompts),
    )


def _usage_later(
    context: RequestContext, generations: Sequence[Generation], n: int
) -> Callable[[], render.Usage]:
    return lambda: _usage(generations, n, context.output_tokens)


def _head(kind: str, shape: str, context: RequestContext, model: str) -> dict[str, object]:
    return {
        "id": f"{kind}-{context.request_id}",
        "object": shape,
        "created": int(time.time()),
        "model": model,
    }


def _names(server: Server) -> tuple[str, ...]:
    return (server.service.model_id, *server.settings.model_aliases)


def _model(server: Server, name: str) -> render.Model:
    service = server.service
    return render.Model(
        id=name, created=service.created, max_model_len=service.max_model_len or None
    )
