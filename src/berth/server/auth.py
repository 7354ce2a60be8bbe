"""Who may call: keys, browser pages of other sites, and where a server without keys may listen."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from berth.server.errors import Forbidden, Unauthorized
from berth.server.settings import ServerSettings

# Probes and load balancers have no key. "/" says that a server runs, and nothing else.
OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/healthz"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_PLACEHOLDERS = frozenset({"YOUR-API-KEY-HERE"})  # shipped as a working key by one seed system
_KEY_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})

_NO_KEY = (
    "You didn't provide an API key. Send it as `Authorization: Bearer <key>`, or in the "
    "x-api-key or api-key header."
)
_WRONG_KEY = "The API key you provided is not one of this server's."


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


def is_loopback(scope: Scope) -> bool:
    """Whether the peer is this machine, and not a proxy on it that speaks for another one."""
    client = scope.get("client")
    if not client:
        return False
    if any(name in (b"forwarded", b"x-forwarded-for") for name, _ in scope["headers"]):
        return False
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


class Authentication:
    """ASGI middleware: with keys, nothing but the open paths without one.

    Without keys anyone who reaches the port may call, but a web page of another site may not make
    its visitor's browser call: such a POST carries an Origin that is neither ours nor allowed.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._keys = tuple(key.encode() for key in settings.api_keys)
        self._origins = frozenset(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._keys:
                self._check_key(scope)
            elif scope["method"] not in _SAFE_METHODS:
                self._check_origin(scope)
        await self._app(scope, receive, send)

    def _check_key(self, scope: Scope) -> None:
        if scope["path"] in OPEN_PATHS and scope["method"] in _SAFE_METHODS:
            return
        offered = [_bare(value) for name, value in scope["headers"] if name in _KEY_HEADERS]
        # Every pair is compared, so that time tells nothing about which key came close.
        matches = [hmac.compare_digest(one, key) for one in offered for key in self._keys]
        if not any(matches):
            raise Unauthorized(_WRONG_KEY if any(offered) else _NO_KEY)

    def _check_origin(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or origin in self._origins or "*" in self._origins:
            return
        if urlsplit(origin).netloc != headers.get(b"host", b"").decode("latin-1"):
            raise Forbidden(
                "A page of another site may not call this server. Its owner can allow the origin."
            )


def _bare(value: bytes) -> bytes:
    """The key in a header's value, with or without `Bearer `."""
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else value.strip()
