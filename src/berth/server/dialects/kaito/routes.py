"""KAITO's routes: Llama-2's, and Falcon's half of /chat. Where they had a defect, ours are sane:

- GET /healthz answers 503 instead of 500 while no model is ready (same `detail`), and asks for no
  GPU: a CPU box that serves is healthy.
- A full queue is 429, a server that is not ready 503, an engine's failure 500; all were 400.
- POST /shutdown lets running requests finish, and needs a key or its owner's word.
- A parameter without a meaning here is named in the Berth-Ignored-Parameters header.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from berth.server import pages
from berth.server.body import LARGE_BODY, read_body
from berth.server.context import Server, context_of
from berth.server.dialects.kaito import falcon, falcon_route, parse, render
from berth.server.errors import Forbidden, renamed
from berth.server.generate import answers, open_stream, submit_all
from berth.server.ignored import noted, noted_raw
from berth.server.reply import json_response
from berth.server.schema import Documented
from berth.serving import offload
from berth.serving.chat_template import UNSAFE_ERROR
from berth.serving.errors import InvalidRequest, UnsafePrompt
from berth.serving.request import Options
from berth.serving.service import Generation, Health

_TAG = "kaito"
_ERRORS: dict[int, type[msgspec.Struct]] = {
    **dict.fromkeys((400, 401, 403, 408, 413, 415, 429, 500, 503), render.Detail),
    422: render.ValidationErrors,
}
_RUNNING = ["Server is running", 200]  # a tuple returned by mistake, which clients now expect


class Healthy(msgspec.Struct, frozen=True):
    """The model answers."""

    status: str = "Healthy"


class Unhealthy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The model does not answer; `detail` is KAITO's sentence or the state's own."""

    detail: str
    state: str
    reason: str
    progress: float | None = None


class Nothing(msgspec.Struct, frozen=True):
    """An empty object."""


def mount(app: FastAPI, server: Server, documented: Documented) -> None:
    """Add POST /generate, POST /chat, POST /shutdown and GET /."""

    async def running(request: Request) -> Response:
        """Whether the server process runs: always `["Server is running", 200]`, but for browsers,
        which get a page that says what this is."""
        return pages.home(server) if pages.is_browser(request) else json_response(_RUNNING)

    async def generate(request: Request) -> Response:
        """Complete every prompt. All prompts of a call run in one batch."""
        return await _generate(server, request)

    async def chat(request: Request) -> Response:
        """Answer every dialog (`input_data`), all in one batch; or, as Falcon's images have it,
        continue a `prompt`."""
        return await _chat(server, request)

    async def shutdown() -> Response:
        """Stop the server once its running requests have ended. Needs a key; a server without
        keys takes it only where its owner allows that."""
        if not (server.settings.allow_shutdown or server.settings.api_keys):
            raise Forbidden(
                "POST /shutdown needs a key, and this server has none. Start it with "
                "--allow-shutdown to let everybody who reaches it end it, or with BERTH_API_KEY."
            )
        server.lifecycle.request_shutdown()
        return json_response(Nothing())

    page = {"content": {"text/html": {"schema": {"type": "string"}}}}
    app.add_api_route(
        "/", running, methods=["GET"], tags=[_TAG], response_model=None, responses={200: page}
    )
    documented.post(
        app, "/generate", generate, _TAG, parse.GenerateRequest,
        {200: render.GenerateResponse, **_ERRORS},
        example={"prompts": ["I believe the meaning of life is"],
                 "parameters": {"max_gen_len": 128}},
        events=render.GENERATE_EVENTS,
    )  # fmt: skip
    documented.post(
        app, "/chat", chat, _TAG, parse.ChatRequest, {200: render.ChatResponse, **_ERRORS},
        example={"input_data": {"input_string": [
            [{"role": "user", "content": "what is the recipe of mayonnaise?"}]]}},
        events=render.CHAT_EVENTS,
        also=(falcon.FalconRequest, falcon.FalconResponse),
    )  # fmt: skip
    documented.bare(
        app, "POST", "/shutdown", shutdown, _TAG,
        {200: Nothing, 401: render.Detail, 403: render.Detail},
    )  # fmt: skip


def mount_healthz(app: FastAPI, health: Callable[[], Health], documented: Documented) -> None:
    """Add GET /healthz; worker nodes answer it too."""

    async def healthz() -> Response:
        """Whether the model answers. 503 while it loads, restarts or drains."""
        now = health()
        if now.ready:
            return json_response(Healthy())
        loading = now.state in ("starting", "loading")
        body = Unhealthy(
            detail="Llama model not initialized" if loading else now.detail,
            state=now.state,
            reason=now.detail,
            progress=now.load_fraction,
        )
        return json_response(body, 503, {"retry-after": "1"})

    documented.get(app, "/healthz", healthz, _TAG, {200: Healthy, 503: Unhealthy})


async def _generate(server: Server, request: Request) -> Response:
    body = await read_body(server, request.scope, request.receive)
    call, ignored = await offload.run(len(body) > LARGE_BODY, parse.parse_generate, body)
    del body
    _check_count(server, len(call.prompts), "prompts")
    options = parse.options_of(
        call.parameters,
        timeout=server.settings.request_timeout_seconds,
        continues_prompt=True,
    )
    encoded = await offload.encode_all(server.service, call.prompts)
    generations = _submit(server, request, [(ids, options) for ids in encoded])
    if call.stream:
        events = render.Events("response", list(range(len(generations))))
        return await open_stream(server, request, generations, events, noted_raw(ignored))
    finished = await answers(server, request, generations)
    return json_response(render.completions(call.prompts, finished), headers=noted(ignored))


async def _chat(server: Server, request: Request) -> Response:
    body = await read_body(server, request.scope, request.receive)
    large = len(body) > LARGE_BODY
    if await offload.run(large, parse.is_falcon, body):
        return await falcon_route.answer(server, request, body)
    call, dialogs, ignored = await offload.run(large, parse.parse_chat, body)
    del body
    _check_count(server, len(dialogs), "input_string")
    options = parse.options_of(
        call.parameters,
        call.input_data.parameters,
        timeout=server.settings.request_timeout_seconds,
    )
    safe: list[int] = []
    rendered: list[list[int]] = []
    for index, dialog in enumerate(dialogs):
        prompt = await _rendered(server, dialog, index)
        await asyncio.sleep(0)  # small dialogs are rendered here: the others' turn
        if prompt is not None:
            safe.append(index)
            rendered.append(prompt)
    unsafe = sorted(set(range(len(dialogs))) - set(safe))
    generations = _submit(server, request, [(ids, options) for ids in rendered])
    if call.stream and generations:
        events = render.Events("content", safe, render.unsafe_events(unsafe))
        return await open_stream(server, request, generations, events, noted_raw(ignored))
    if call.stream:
        only_refusals = render.unsafe_events(unsafe) + b"data: [DONE]\n\n"
        return Response(only_refusals, media_type="text/event-stream", headers=noted(ignored))
    finished = await answers(server, request, generations)
    replies = [UNSAFE_ERROR] * len(dialogs)
    for index, answer in zip(safe, finished, strict=True):
        replies[index] = answer.text
    return json_response(render.dialogs(dialogs, replies), headers=noted(ignored))


async def _rendered(
    server: Server, dialog: list[parse.DialogMessage], index: int
) -> list[int] | None:
    """The dialog's prompt; None where a message holds the template's own tags."""
    try:
        return await offload.render_chat(server.service, parse.messages_of(dialog, index))
    except UnsafePrompt:
        return None


def _check_count(server: Server, count: int, field: str) -> None:
    limit = server.settings.max_prompts_per_call
    if count > limit:
        raise InvalidRequest(f"{field} holds {count} entries; one call may bring {limit}", field)


def _submit(
    server: Server, request: Request, prompts: list[tuple[list[int], Options]]
) -> list[Generation]:
    try:
        return submit_all(server.service, prompts, context_of(request.scope).request_id)
    except InvalidRequest as error:
        raise renamed(error, {"max_tokens": "max_gen_len"}) from None
