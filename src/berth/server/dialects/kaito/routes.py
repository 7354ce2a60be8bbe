"""KAITO's routes: Llama-2's, and Falcon's half of /chat. Their defects are mended here:

- GET /healthz (a health route) answers 503 instead of 500 while no model is ready, with the same
  `detail`, and asks for no GPU: a CPU box that serves is healthy.
- A full queue is 429, a server that is not ready 503, an engine's failure 500; all were 400.
- POST /shutdown lets running requests finish, and needs a key or its owner's word.
- A parameter without a meaning here is named in the Berth-Ignored-Parameters header.
"""

from __future__ import annotations

import asyncio

import msgspec
from fastapi import Request
from starlette.responses import Response

from berth.server import pages
from berth.server.body import LARGE_BODY
from berth.server.context import Server, context_of
from berth.server.dialect import EVENTS
from berth.server.dialects.kaito import falcon, falcon_route, parse, render
from berth.server.errors import Forbidden, renamed
from berth.server.generate import answers, open_stream, submit_all
from berth.server.ignored import noted, noted_raw
from berth.server.reply import json_response
from berth.server.routes import Mount, Shapes
from berth.server.shared_paths import SharedShape
from berth.serving import offload
from berth.serving.chat_template import UNSAFE_ERROR
from berth.serving.errors import InvalidRequest, UnsafePrompt
from berth.serving.prompt import Prompt
from berth.serving.request import Options
from berth.serving.service import Generation, Service

_RUNNING = ["Server is running", 200]  # a tuple returned by mistake, which clients now expect


class Nothing(msgspec.Struct, frozen=True):
    """An empty object."""


def mount(mount: Mount, server: Server) -> None:
    """Add POST /generate, POST /chat, POST /shutdown and GET /."""

    async def running(request: Request) -> Response:
        """Whether the server process runs: always `["Server is running", 200]`, but for browsers,
        which get a page that says what this is."""
        return pages.home(server) if pages.is_browser(request) else json_response(_RUNNING)

    async def shutdown() -> Response:
        """Stop the server once its running requests have ended. Needs a key; a server without
        keys takes it only if its owner allows that."""
        if not (server.settings.allow_shutdown or server.keys.asked):
            raise Forbidden(
                "POST /shutdown needs a key, and this server has none. Start it with "
                "BERTH_API_KEY, or with --allow-shutdown, which lets every client end it."
            )
        server.lifecycle.request_shutdown()
        return json_response(Nothing())

    home: dict[str, Shapes] = {
        "application/json": ({"const": _RUNNING},),
        "text/html": ({"type": "string"},),
    }
    mount.bare("GET", "/", running, {200: home})
    mount.bare("POST", "/shutdown", shutdown, {200: {"application/json": (Nothing,)}})
    mount.share(
        "/generate",
        "Complete every prompt. All prompts of a call run in one batch.",
        SharedShape(
            key="prompts",
            shown='{"prompts": ["…"]}, as Llama-2\'s images do',
            answer=_generate,
            request=parse.GenerateRequest,
            response=render.GenerateResponse,
            example={"prompts": ["I believe the meaning of life is"],
                     "parameters": {"max_gen_len": 128}},
            stream=render.GENERATE_SHAPES,
            events=render.EVENTS_IN_WORDS,
        ),
    )  # fmt: skip
    mount.share(
        "/chat",
        "With `input_data`: answer every dialog, all in one batch.",
        SharedShape(
            key="input_data",
            shown='{"input_data": {"input_string": […]}}, as Llama-2-chat\'s images do',
            answer=_chat,
            request=parse.ChatRequest,
            response=render.ChatResponse,
            example={"input_data": {"input_string": [
                [{"role": "user", "content": "what is the recipe of mayonnaise?"}]]}},
            stream=render.CHAT_SHAPES,
            events=render.EVENTS_IN_WORDS,
        ),
    )  # fmt: skip
    mount.share(
        "/chat",
        "With `prompt`, as KAITO's Falcon images have it: continue it.",
        SharedShape(
            key="prompt",
            shown='{"prompt": "…"}, as Falcon\'s images do',
            answer=falcon_route.answer,
            request=falcon.FalconRequest,
            response=falcon.FalconResponse,
            example=falcon.EXAMPLE,
            stream=render.GENERATE_SHAPES,
            events=render.EVENTS_IN_WORDS,
        ),
    )


async def _generate(server: Server, request: Request, body: bytes) -> Response:
    call, ignored = await offload.run(len(body) > LARGE_BODY, parse.parse_generate, body)
    del body
    _check_count(server, len(call.prompts), "prompts")
    options = parse.options_of(
        call.parameters,
        timeout=server.settings.request_timeout_seconds,
        continues_prompt=True,
    )
    service = await server.acquire(request)  # no model is named: the first one
    encoded = await offload.encode_all(service, call.prompts)
    generations = _submit(service, request, [(ids, options) for ids in encoded])
    if call.stream:
        events = render.Events("response", list(range(len(generations))))
        return await open_stream(server, request, generations, events, noted_raw(ignored))
    finished = await answers(server, request, generations)
    return json_response(render.completions(call.prompts, finished), headers=noted(ignored))


async def _chat(server: Server, request: Request, body: bytes) -> Response:
    call, dialogs, ignored = await offload.run(len(body) > LARGE_BODY, parse.parse_chat, body)
    del body
    _check_count(server, len(dialogs), "input_string")
    options = parse.options_of(
        call.parameters,
        call.input_data.parameters,
        timeout=server.settings.request_timeout_seconds,
    )
    service = await server.acquire(request)  # no model is named: the first one
    safe: list[int] = []
    rendered: list[Prompt] = []
    for index, dialog in enumerate(dialogs):
        prompt = await _rendered(service, dialog, index)
        await asyncio.sleep(0)  # small dialogs are rendered here: the others' turn
        if prompt is not None:
            safe.append(index)
            rendered.append(prompt)
    unsafe = sorted(set(range(len(dialogs))) - set(safe))
    generations = _submit(service, request, [(ids, options) for ids in rendered])
    if call.stream and generations:
        events = render.Events("content", safe, render.unsafe_events(unsafe))
        return await open_stream(server, request, generations, events, noted_raw(ignored))
    if call.stream:
        only_refusals = render.unsafe_events(unsafe, end=True)
        return Response(only_refusals, media_type=EVENTS.media_type, headers=noted(ignored))
    finished = await answers(server, request, generations)
    replies = [UNSAFE_ERROR] * len(dialogs)
    for index, answer in zip(safe, finished, strict=True):
        replies[index] = answer.text
    return json_response(render.dialogs(dialogs, replies), headers=noted(ignored))


async def _rendered(
    service: Service, dialog: list[parse.DialogMessage], index: int
) -> Prompt | None:
    """The dialog's prompt; None if a message holds the template's own tags."""
    try:
        return await offload.render_chat(service, parse.messages_of(dialog, index))
    except UnsafePrompt:
        return None


def _check_count(server: Server, count: int, field: str) -> None:
    limit = server.settings.max_prompts_per_call
    if count > limit:
        raise InvalidRequest(f"{field} holds {count} entries; one call may bring {limit}", field)


def _submit(
    service: Service, request: Request, prompts: list[tuple[Prompt, Options]]
) -> list[Generation]:
    try:
        return submit_all(service, prompts, context_of(request.scope).request_id)
    except InvalidRequest as error:
        raise renamed(error, {"max_tokens": "max_gen_len"}) from None
