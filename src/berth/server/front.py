"""The outermost part of the app: identity, drain, the last net, and the log line of a request.

Plain ASGI: what a stream sends passes through one small function here and no queue or task.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from berth.server.auth import OPEN_PATHS
from berth.server.context import RequestContext, Server, open_context
from berth.server.errors import ClientGone, error_response, row_of
from berth.server.logs import log_access, log_failure
from berth.serving.errors import Unavailable

# nginx's number for "the client closed the connection"; it goes to the log, never to a client.
CLIENT_GONE = 499
_UNMATCHED = "unmatched"  # for the log and the metrics: a path that no route has may say anything
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Front:
    """ASGI middleware around everything else. Turns each exception into its HTTP answer."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = open_context(scope)
        _drop_trailing_slash(scope)
        header = (b"x-request-id", context.request_id.encode("ascii"))

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        # Calls that generate are POSTs; a drain waits for those and refuses more of them.
        counted = scope["method"] == "POST"
        if counted:
            self._server.lifecycle.enter()
        try:
            if counted and self._server.lifecycle.draining and scope["path"] != "/shutdown":
                raise Unavailable("The server is shutting down.", retry_after=5)
            await self._app(scope, receive, reply)
        except ClientGone:
            context.status = CLIENT_GONE
        except Exception as error:
            await self._answer(error, context, scope, receive, reply)
        finally:
            if counted:
                self._server.lifecycle.leave()
            self._note(context, scope)

    async def _answer(
        self,
        error: Exception,
        context: RequestContext,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        if row_of(error).status >= 500 and not isinstance(error, Unavailable):
            log_failure(context, error)
        # After the headers only breaking the connection tells the client; the HTTP server does
        # that for a response which never completes.
        if not context.status:
            await error_response(scope["path"], error)(scope, receive, send)

    def _note(self, context: RequestContext, scope: Scope) -> None:
        route = getattr(scope.get("route"), "path", _UNMATCHED)
        method = context.method if context.method in _METHODS else "other"
        self._server.metrics.http_request(route, method, context.status)
        log_access(context, route, quiet=route in OPEN_PATHS or route == "/metrics")


def _drop_trailing_slash(scope: Scope) -> None:
    """`/v1/models/` is `/v1/models`: old clients write both, and a redirect would lose a POST."""
    path: str = scope["path"]
    if len(path) > 1 and path.endswith("/"):
        scope["path"] = path.rstrip("/") or "/"
