"""The outermost part of the app: identity, drain, the last net, and the log line of a request.

Also what HTTP asks of every route alike: HEAD, a Host, the answers to pages of other sites.

Plain ASGI: what a stream sends passes through one small function here and no queue or task.
"""

from __future__ import annotations

import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from berth.server.auth import PROBES
from berth.server.context import RequestContext, Server, open_context
from berth.server.cors import Cors
from berth.server.dialect import error_response, speak
from berth.server.errors import ClientGone, InvalidHost, row_of
from berth.server.logs import log_access, log_failure
from berth.server.origins import split_host
from berth.server.proxies import Proxies
from berth.server.routes import Routes
from berth.serving.errors import Unavailable

# nginx's number for "the client closed the connection"; it goes to the log, never to a client.
CLIENT_GONE = 499
_UNMATCHED = "unmatched"  # for the log and the metrics: a path that no route has may say anything
_SLASHES = re.compile("/{2,}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Front:
    """ASGI middleware around everything else. Turns each exception into its HTTP answer."""

    def __init__(self, app: ASGIApp, server: Server, routes: Routes) -> None:
        self._app = app
        self._server = server
        self._routes = routes
        self._cors = Cors(server.settings, server.keys)
        self._proxies = Proxies(server.settings.forwarded_allow)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = open_context(scope)
        scope["path"] = _plain_path(scope["path"])
        speak(scope, self._routes.dialect_of(scope["path"]))
        header = (b"x-request-id", context.request_id.encode("ascii"))
        send = self._cors.marked(scope, send)

        async def signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = message["status"]
                message["headers"] = [*message.get("headers", ()), header, *context.headers]
            await send(message)

        reply: Send = signed
        if scope["method"] == "HEAD":  # what GET says, without the body
            scope, reply = {**scope, "method": "GET"}, _headless(signed)

        # Calls that generate are POSTs; a drain waits for those and refuses more of them.
        counted = scope["method"] == "POST"
        if counted:
            self._server.lifecycle.enter()
        try:
            if counted and self._server.lifecycle.draining and scope["path"] != "/shutdown":
                raise Unavailable("The server is shutting down.", retry_after=5)
            _check_host(scope)
            self._proxies.believe(scope)
            app = self._cors.preflight(scope) or self._app
            await app(scope, receive, reply)
        except ClientGone:
            context.status = CLIENT_GONE
        except Exception as error:
            await self._answer(error, context, scope, receive, reply)
        finally:
            if counted:
                self._server.lifecycle.leave()
            for end in context.at_end:
                end()
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
        # After the headers only a broken connection shows the client an error; the HTTP server
        # breaks it if a response never completes.
        if not context.status:
            await error_response(scope, error)(scope, receive, send)

    def _note(self, context: RequestContext, scope: Scope) -> None:
        route = getattr(scope.get("route"), "path", _UNMATCHED)
        method = context.method if context.method in _METHODS else "other"
        seconds = time.perf_counter() - context.started
        self._server.metrics.http_request(route, method, context.status, seconds)
        log_access(context, route, quiet=route in PROBES or route == "/metrics")


def _plain_path(path: str) -> str:
    """`/v1/models/` and `//v1/models` are `/v1/models`: clients put their base's slash before the
    path's or write one behind it, and a redirect would lose a POST.
    """
    if path == "*":  # OPTIONS *: of the server as a whole
        return "/"
    if "//" in path:
        path = _SLASHES.sub("/", path)
    return path if path == "/" else path.removesuffix("/")


def _check_host(scope: Scope) -> None:
    """RFC 9112 3.2: a request of HTTP/1.1 names one host, or gets a 400."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1:
        raise InvalidHost("The request has more than one Host header.")
    if not hosts and scope["http_version"] == "1.1":
        raise InvalidHost("The request has no Host header; HTTP/1.1 asks for one.")
    if hosts and hosts[0] and split_host(hosts[0].decode("latin-1")) is None:
        raise InvalidHost("The request's Host header is no name or address, with or without port.")


def _headless(send: Send) -> Send:
    async def reply(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return reply
