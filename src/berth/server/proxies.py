"""Proxies that the owner trusts: what the client asked for, before they rewrote it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from starlette.types import Scope

from berth.server.origins import address_of

_SCOPE_KEY = "berth.prefix"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class Proxies:
    """The addresses of `--forwarded-allow`.

    Raises:
        ValueError: one is neither an address, nor a network, nor `*`.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        allowed = tuple(allowed)
        self._all = "*" in allowed
        self._networks = [ipaddress.ip_network(text) for text in allowed if text != "*"]

    def __bool__(self) -> bool:
        return self._all or bool(self._networks)

    def believe(self, scope: Scope) -> None:
        """If the peer is one of them, take Host and the path's prefix from its headers."""
        if not self or not self._trusts(scope):
            return
        headers = dict(scope["headers"])
        host = headers.get(b"x-forwarded-host", b"").partition(b",")[0].strip()
        if host:
            others = [pair for pair in scope["headers"] if pair[0] != b"host"]
            scope["headers"] = [*others, (b"host", host)]
        prefix = headers.get(b"x-forwarded-prefix", b"").decode("latin-1").strip().rstrip("/")
        if _PREFIX.fullmatch(prefix):
            scope[_SCOPE_KEY] = prefix

    def _trusts(self, scope: Scope) -> bool:
        if self._all:
            return True
        client = scope.get("client")
        address = address_of(client[0]) if client else None
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )


def prefix_of(scope: Scope) -> str:
    """The path under which a believed proxy shows this server: `/llm`, or nothing."""
    prefix = scope.get(_SCOPE_KEY, "")
    assert isinstance(prefix, str)
    return prefix
