"""POST /chat with a `prompt`: Falcon's half of the route."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from berth.server.body import LARGE_BODY
from berth.server.context import Server, context_of
from berth.server.dialect import EVENTS
from berth.server.dialects.kaito import falcon, render
from berth.server.errors import Malformed
from berth.server.generate import answers, open_stream, submit_all
from berth.server.ignored import noted, noted_raw
from berth.server.reply import json_response
from berth.serving import offload
from berth.serving.errors import InvalidRequest
from berth.serving.service import Generation


async def answer(server: Server, request: Request, body: bytes) -> Response:
    """Continue the prompt.

    Raises: as the other routes; what is wrong with the body's values is Malformed.
    """
    call, ignored = await offload.run(len(body) > LARGE_BODY, falcon.parse, body)
    del body
    generations = await _submit(server, request, call)
    searched = (call.num_beams or 1) > 1
    if call.stream and not searched:
        events = render.Events("response", list(range(len(generations))))
        return await open_stream(server, request, generations, events, noted_raw(ignored))
    finished = await answers(server, request, generations)
    if call.stream:  # a beam search knows its sequences at its end
        events_at_once = render.whole_events("response", falcon.sequences(finished))
        return Response(events_at_once, media_type=EVENTS.media_type, headers=noted(ignored))
    return json_response(falcon.result(call.prompt, finished), headers=noted(ignored))


async def _submit(server: Server, request: Request, call: falcon.FalconRequest) -> list[Generation]:
    limit = server.settings.max_choices
    if (call.num_return_sequences or 1) > limit:
        raise Malformed(
            f"num_return_sequences is {call.num_return_sequences}; one call may ask for {limit}.",
            ("num_return_sequences",),
        )
    try:
        seconds = server.settings.request_timeout_seconds
        generate = falcon.needs_generate(call)
        service = await server.acquire(request, generate=generate)
        ids = await offload.encode(service, call.prompt)
        options = falcon.options_of(
            call,
            prompt_tokens=len(ids),
            timeout=seconds,
        )
        wanted = [(ids, each) for each in options]
        return submit_all(service, wanted, context_of(request.scope).request_id)
    except InvalidRequest as error:
        raise falcon.refusal(error) from None
