"""What every route of one app stands on, and what is noted about one request on its way."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import Scope

from berth.server.body_limits import BodyBudget
from berth.server.callers import check_model
from berth.server.keys import Keys
from berth.server.lifecycle import Lifecycle
from berth.server.metrics import Metrics
from berth.server.settings import ServerSettings
from berth.server.wanted import while_wanted
from berth.serving.models import Models
from berth.serving.service import Service

# What we take over from a client's x-request-id; anything else might forge log lines.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_SCOPE_KEY = "berth"


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of one running app."""

    models: Models
    settings: ServerSettings
    lifecycle: Lifecycle
    metrics: Metrics
    bodies: BodyBudget
    keys: Keys

    async def acquire(
        self, request: Request, name: str | None = None, *, generate: bool = False
    ) -> Service:
        """The service that answers this request for the model `name`: every dialect's way to it.

        The service stays until the request is over. Call it when the body has been read.

        Raises: Forbidden if the request's key may not use the model, ClientGone if its client
            hangs up while the model is being loaded, and what `Models.acquire` raises.
        """
        check_model(request.scope, self.models.names_of(self.models.get(name)))
        seconds, context = self.settings.request_timeout_seconds, context_of(request.scope)
        acquiring = self.models.acquire(
            name, generate=generate, seconds=seconds, at_end=context.at_end.append
        )
        if not self.models.waits(name, generate=generate):
            return await acquiring
        return await while_wanted(seconds, context.started, request.receive, acquiring)

    @property
    def ready(self) -> bool:
        """Whether a new call would be taken and served."""
        return not self.lifecycle.draining and self.models.health().ready


@dataclass(slots=True)
class RequestContext:
    """One request, with what its log line will say. Never holds text of a prompt or an answer."""

    request_id: str
    method: str
    started: float = field(default_factory=time.perf_counter)  # monotonic seconds
    status: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    first_token: float | None = None  # monotonic seconds
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)  # of the answer, errors too
    at_end: list[Callable[[], None]] = field(default_factory=list)  # called when it is over


def open_context(scope: Scope) -> RequestContext:
    """Note a request's id (the client's own, if it is a sane one) and start in its scope."""
    request_id = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode("ascii")
            break
    context = RequestContext(request_id or os.urandom(16).hex(), scope["method"])
    scope[_SCOPE_KEY] = context
    return context


def context_of(scope: Scope) -> RequestContext:
    """The context that `open_context` left in this scope."""
    context = scope[_SCOPE_KEY]
    assert isinstance(context, RequestContext)
    return context
