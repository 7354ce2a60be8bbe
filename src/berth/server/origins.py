"""Names of hosts and origins of pages: which are this machine's, which the owner named, which are
the same. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

# RFC 9110's `host [":" port]`; what is in brackets is an IPv6 address.
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::(?P<port>\d*))?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/\\@?#<>\"'`$;&|()]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# What a container's resolver calls the machine that it runs on.
_MACHINE_NAMES = frozenset({"localhost", "host.docker.internal", "host.containers.internal"})
_LOOPBACK = "localhost"


class Patterns:
    """Texts that the owner listed, in which `*` stands for anything but a slash."""

    def __init__(self, patterns: Iterable[str]) -> None:
        shapes = [_shape(pattern.lower()) for pattern in patterns]
        self._shape = re.compile("|".join(shapes)) if shapes else None

    def __contains__(self, text: str) -> bool:
        return self._shape is not None and self._shape.fullmatch(text.lower()) is not None


def _shape(pattern: str) -> str:
    if pattern == "*":
        return ".*"
    return "[^/]*".join(re.escape(part) for part in pattern.split("*"))


@lru_cache(maxsize=64)  # asked of each request, and nearly always of the same few
def split_host(host: str) -> tuple[str, int | None] | None:
    """A Host header's name (lower case, without a last dot or brackets) and port, if it has one.

    None if it is no host.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    name = found["name"].strip("[]").lower().removesuffix(".")
    return name, int(found["port"][:9]) if found["port"] else None


def address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a name is; None if it is a name."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_loopback(name: str) -> bool:
    """Whether a name means the loopback interface on every machine."""
    address = address_of(name)
    if address is not None:
        return address.is_loopback
    return name in _MACHINE_NAMES or name.endswith(".localhost")


@lru_cache(maxsize=64)
def is_own_name(name: str) -> bool:
    """Whether no stranger's page can have this name.

    A page has the name that its browser looked up. Addresses are not looked up, the names of
    loopback never leave the machine, and a name without a dot cannot be registered.
    """
    return is_loopback(name) or address_of(name) is not None or "." not in name


def is_origin_pattern(text: str) -> bool:
    """Whether a text can be an origin, or a pattern of some: `*`, `null`, or scheme and host."""
    return text in ("*", "null") or _ORIGIN.fullmatch(text.lower()) is not None


def shown_origin(origin: str) -> str | None:
    """The origin, if it is one that can be typed into a command."""
    known = "*" not in origin and is_origin_pattern(origin)
    return origin if known and len(origin) <= 200 else None


def host_of(origin: str) -> str | None:
    """The name of the host in an origin or a pattern of origins."""
    try:
        return urlsplit(origin.lower()).hostname
    except ValueError:
        return None


def is_same(origin: str, host: str, own_port: int | None) -> bool:
    """Whether a page of this origin, calling a server by this Host header, calls its own server.

    The scheme is left out: in front of us a proxy may have ended TLS.

    Args:
        own_port: where this server listens. A Host header without that port came through a proxy
            that left the port out, so that the page's own port is not known.
    """
    try:
        page = urlsplit(origin.lower())
        page_port = page.port or _DEFAULT_PORTS.get(page.scheme)
    except ValueError:
        return False
    called = split_host(host)
    if called is None or not page.hostname:
        return False
    name, port = called
    if _known(page.hostname.removesuffix(".")) != _known(name):
        return False
    if port is None and own_port not in _DEFAULT_PORTS.values():
        return True
    return page_port == (port or _DEFAULT_PORTS.get(page.scheme))


def _known(name: str) -> str:
    return _LOOPBACK if is_loopback(name) else name
