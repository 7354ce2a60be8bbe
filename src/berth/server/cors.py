"""Pages of other sites: which may call, and what browsers of the others get as an answer."""

from __future__ import annotations

from functools import partial

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from berth.server.errors import Forbidden
from berth.server.keys import Keys
from berth.server.origins import Patterns, shown_origin
from berth.server.settings import ServerSettings
from berth.store.limiter import LIMIT_HEADERS


def foreign_page(origin: str, *, keys: bool) -> Forbidden:
    """A page of this origin may not call; with what its owner can do about it."""
    shown = shown_origin(origin)
    page = f"A page of {shown}" if shown else "A page of another site"
    if shown == "null":
        page = "A page without an origin (null)"
    cure = f"Start the server with --cors-origin {shown or 'and its origin'} to let it"
    if keys:
        return Forbidden(f"{page} may not call this server. {cure}.")
    return Forbidden(
        f"{page} may not call this server, which asks for no key. {cure}. If the page is this "
        "server's own, behind a proxy: let the proxy pass the Host header on, or trust its "
        "X-Forwarded-Host with --forwarded-allow and its address."
    )


class Cors:
    """Starlette's rules, applied in the place where the answer gets its request id too."""

    def __init__(self, settings: ServerSettings, keys: Keys) -> None:
        self._keys = keys
        self._allowed = Patterns(settings.cors_origins)
        self._rules = _Rules(self._allowed) if settings.cors_origins else None

    def preflight(self, scope: Scope) -> Response | None:
        """The answer to a browser's question before a call; None if this is none.

        Raises:
            Forbidden: the page may not call.
        """
        if scope["method"] != "OPTIONS":
            return None
        headers = Headers(scope=scope)
        if "origin" not in headers or "access-control-request-method" not in headers:
            return None
        if self._rules is None or headers["origin"] not in self._allowed:
            raise foreign_page(headers["origin"], keys=self._keys.asked)
        return self._rules.preflight_response(headers)

    def marked(self, scope: Scope, send: Send) -> Send:
        """`send` that lets an allowed page read the answer."""
        if self._rules is None or all(name != b"origin" for name, _ in scope["headers"]):
            return send
        return partial(self._rules.send, send=send, request_headers=Headers(scope=scope))


class _Rules(CORSMiddleware):
    def __init__(self, allowed: Patterns) -> None:
        super().__init__(
            _nothing,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=[
                "x-request-id",
                "retry-after",
                "berth-ignored-parameters",
                *LIMIT_HEADERS,
            ],
        )
        self._allowed = allowed

    def is_allowed_origin(self, origin: str) -> bool:
        return origin in self._allowed


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The app behind the rules, which are only asked."""
