"""What may call: keys, browser pages of other sites; and where a server without keys may listen.

docs/keys.md has the rules for holding and making keys.
"""

from __future__ import annotations

import hmac
import re
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from berth.server.callers import OWNER, note_caller
from berth.server.context import context_of
from berth.server.cors import foreign_page
from berth.server.errors import Forbidden, Unauthorized
from berth.server.keys import Account, Keys
from berth.server.origins import Patterns, host_of, is_loopback, is_own_name, is_same, split_host
from berth.server.pages import ASSETS
from berth.server.settings import ServerSettings
from berth.serving.errors import Overloaded
from berth.store.limiter import Refused

# Probes and load balancers have no key; "/" says that a server runs, and nothing else.
PROBES = frozenset({"/", "/livez", "/readyz", "/healthz", "/health", "/ping"})
# The rest is the same at every server of this version; the page asks for the key.
OPEN_PATHS = PROBES | {
    "/version",
    "/openapi.json",
    "/docs",
    "/redoc",
    *(f"/docs/{name}" for name in ASSETS),
}
# What changes the server for everybody: for admins.
ADMIN_PATHS = frozenset({"/shutdown"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_KEY_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})

_NO_KEY = (
    "You didn't provide an API key. Send it as `Authorization: Bearer <key>`, or in the "
    "x-api-key or api-key header."
)
# OpenAI's first words, by which clients tell a wrong key from another refusal.
_WRONG_KEY = "Incorrect API key provided. "
_REASONS = {
    "unknown": "It is not one of this server's keys.",
    "revoked": "It was revoked.",
    "expired": "It has expired.",
    "replaced": "It was replaced by a newer one.",
}
# Keys in a URL are shown by logs and browsers' histories. They are read only on paths for which a
# seed system's clients cannot send a header: a browser's EventSource (004), and 001's documented
# alternative.
_NODE_PATHS = re.compile(r"(?:/compat/node)?/(?:status|chat/ask|chat/errors|models|unloadModel)")
_QUERY_KEYS = ((_NODE_PATHS, "authKey"), (re.compile(r"/v1(?:/.*)?"), "authorization"))


def bind_host(named: str | None, keys: bool) -> str:
    """The address to listen on: the owner's; else every address with keys, loopback without."""
    if named is not None:
        return named
    return "0.0.0.0" if keys else "127.0.0.1"


class Authentication:
    """ASGI middleware: with keys, nothing but the open paths without one.

    A key of the database may have a role, and limits, which are kept here too: a request enters
    once for its whole life, the stream of its answer included.

    Without keys every client that reaches the port may call, but a web page of another site may not
    make its visitor's browser call:

    - A POST of such a page carries an Origin that is neither ours nor allowed.
    - A page whose name was made to resolve to this machine counts as ours to the browser, but
      calls us by that name; a server on loopback answers to names of this machine, and to those
      that its owner gave it.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, keys: Keys) -> None:
        self._app = app
        self._keys = keys
        self._origins = Patterns(settings.cors_origins)
        named = [*settings.allowed_hosts, *filter(None, map(host_of, settings.cors_origins))]
        self._hosts = Patterns(named)
        self._named = bool(settings.allowed_hosts)
        self._on_loopback = is_loopback(settings.host.strip("[]").lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        keys = self._keys
        open_to_all = scope["method"] == "OPTIONS" or (
            # OPTIONS says what a route takes, as the open documentation does
            scope["method"] in _SAFE_METHODS and scope["path"] in OPEN_PATHS
        )
        if not open_to_all and keys.stale():
            await keys.refresh()
        if self._named or (self._on_loopback and not keys.asked):
            self._check_host(host)
        account = None
        if keys.asked:
            if not open_to_all:
                account = self._check_key(scope)
        else:
            if not open_to_all:
                keys.check_age()  # there may be a first key by now
            if scope["method"] not in _SAFE_METHODS and b"origin" in headers:
                self._check_origin(headers[b"origin"].decode("latin-1"), host, scope)
        limiter = None if account is None else account.limiter
        if limiter is None:
            await self._app(scope, receive, send)
            return
        refused = limiter.enter(keys.clock())
        context_of(scope).headers = limiter.headers(keys.clock())
        if refused is not None:
            raise _too_many(refused)
        try:
            await self._app(scope, receive, send)
        finally:
            limiter.leave()

    def _check_key(self, scope: Scope) -> Account | None:
        """The account of the request's key; None of a key of the owner's own.

        Raises Unauthorized; Forbidden if the key lacks the role; Unavailable if the database
        could not be read for too long.
        """
        keys = self._keys
        offered = [_bare(value) for name, value in scope["headers"] if name in _KEY_HEADERS]
        if scope["query_string"] and scope["method"] in _SAFE_METHODS:
            offered += _in_query(scope["path"], scope["query_string"])
        # Every pair is compared, so that time tells nothing about which key came close.
        matches = [hmac.compare_digest(one, key) for one in offered for key in keys.own]
        if any(matches):
            note_caller(scope, OWNER)
            return None
        keys.check_age()
        reason = "unknown"
        for one in offered:
            verdict = keys.find(one)
            if verdict.reason is None and verdict.key is not None:
                account = keys.account_of(verdict.key)
                if scope["path"] in ADMIN_PATHS and not account.caller.admin:
                    raise Forbidden("This route needs the key of an admin; this key is a user's.")
                note_caller(scope, account.caller)
                return account
            if verdict.reason is not None and verdict.key is not None:
                reason = verdict.reason
        raise Unauthorized(_WRONG_KEY + _REASONS[reason] if any(offered) else _NO_KEY)

    def _check_host(self, host: str) -> None:
        if not host:
            return  # HTTP/1.0; browsers always send one
        name = (split_host(host) or (None, None))[0]
        if name is not None and (is_own_name(name) or name in self._hosts):
            return
        option = f"--allowed-host {name}" if name and len(name) <= 200 else "--allowed-host"
        raise Forbidden(
            "The request's Host header is not a name of this server. Start the server with "
            f"{option} if that name is its own."
        )

    def _check_origin(self, origin: str, host: str, scope: Scope) -> None:
        own_port = (scope.get("server") or (None, None))[1]
        if origin not in self._origins and not is_same(origin, host, own_port):
            raise foreign_page(origin, keys=False)


def _too_many(refused: Refused) -> Overloaded:
    said = (
        f"{refused.most} requests within a minute"
        if refused.limit == "requests_per_minute"
        else f"{refused.most} requests at one time"
    )
    return Overloaded(
        f"Rate limit reached for this API key: {said}. Retry-After says when to try again.",
        refused.retry_after,
    )


def _in_query(path: str, query: bytes) -> list[bytes]:
    """The keys in a URL's query, if this path may have one."""
    for paths, parameter in _QUERY_KEYS:
        if paths.fullmatch(path):
            start = parameter.encode() + b"="
            return [
                _bare(unquote_to_bytes(pair.removeprefix(start).replace(b"+", b" ")))
                for pair in query.split(b"&")
                if pair.startswith(start)
            ]
    return []


def _bare(value: bytes) -> bytes:
    """The key in a header's value, with or without `Bearer `."""
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value.strip()
