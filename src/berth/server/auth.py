"""Who may call: keys, browser pages of other sites, and where a server without keys may listen."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from berth.server.cors import foreign_page
from berth.server.errors import Forbidden, Unauthorized
from berth.server.origins import Patterns, host_of, is_loopback, is_own_name, is_same, split_host
from berth.server.pages import ASSETS
from berth.server.settings import ServerSettings

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
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PLACEHOLDERS = frozenset({"YOUR-API-KEY-HERE"})  # shipped as a working key by one seed system
_KEY_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})

_NO_KEY = (
    "You didn't provide an API key. Send it as `Authorization: Bearer <key>`, or in the "
    "x-api-key or api-key header."
)
# OpenAI's first words, by which clients tell a wrong key from another refusal.
_WRONG_KEY = "Incorrect API key provided. It is not one of this server's keys."


def parse_api_keys(text: str | None) -> tuple[str, ...]:
    """The keys in BERTH_API_KEY: one, or several separated by commas; none where unset or empty.

    Raises:
        ValueError: a key that no header can carry, or a placeholder. The key is not repeated.
    """
    keys = tuple(key for key in (part.strip() for part in (text or "").split(",")) if key)
    for position, key in enumerate(keys, start=1):
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError(
                f"key {position} of BERTH_API_KEY must be printable ASCII without spaces"
            )
        if key in _PLACEHOLDERS:
            raise ValueError(f"key {position} of BERTH_API_KEY is a placeholder; choose your own")
    return keys


def bind_host(named: str | None, api_keys: Iterable[str]) -> str:
    """Where to listen: where the owner says; else everywhere with keys, on loopback without."""
    if named is not None:
        return named
    return "0.0.0.0" if any(api_keys) else "127.0.0.1"


class Authentication:
    """ASGI middleware: with keys, nothing but the open paths without one.

    Without keys anyone who reaches the port may call, but a web page of another site may not make
    its visitor's browser call:

    - A POST of such a page carries an Origin that is neither ours nor allowed.
    - A page whose name was made to resolve to this machine counts as ours to the browser, but
      calls us by that name; a server on loopback answers to names of this machine, and to those
      that its owner gave it.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._keys = tuple(key.encode() for key in settings.api_keys)
        self._origins = Patterns(settings.cors_origins)
        named = [*settings.allowed_hosts, *filter(None, map(host_of, settings.cors_origins))]
        self._hosts = Patterns(named)
        on_loopback = is_loopback(settings.host.strip("[]").lower())
        self._closed = bool(settings.allowed_hosts) or (on_loopback and not self._keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1")
            if self._closed:
                self._check_host(host)
            if self._keys:
                self._check_key(scope)
            elif scope["method"] not in _SAFE_METHODS and b"origin" in headers:
                self._check_origin(headers[b"origin"].decode("latin-1"), host, scope)
        await self._app(scope, receive, send)

    def _check_key(self, scope: Scope) -> None:
        if scope["method"] == "OPTIONS":
            return  # says what a route takes, as the open documentation does
        if scope["method"] in _SAFE_METHODS and scope["path"] in OPEN_PATHS:
            return
        offered = [_bare(value) for name, value in scope["headers"] if name in _KEY_HEADERS]
        # Every pair is compared, so that time tells nothing about which key came close.
        matches = [hmac.compare_digest(one, key) for one in offered for key in self._keys]
        if not any(matches):
            raise Unauthorized(_WRONG_KEY if any(offered) else _NO_KEY)

    def _check_host(self, host: str) -> None:
        if not host:
            return  # HTTP/1.0; browsers always send one
        name = (split_host(host) or (None, None))[0]
        if name is not None and (is_own_name(name) or name in self._hosts):
            return
        option = f"--allowed-host {name}" if name and len(name) <= 200 else "--allowed-host"
        raise Forbidden(
            f"This server does not go by the host name it was called by. Start it with {option} "
            "if that name is its own."
        )

    def _check_origin(self, origin: str, host: str, scope: Scope) -> None:
        own_port = (scope.get("server") or (None, None))[1]
        if origin not in self._origins and not is_same(origin, host, own_port):
            raise foreign_page(origin, keys=False)


def _bare(value: bytes) -> bytes:
    """The key in a header's value, with or without `Bearer `."""
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value.strip()
