"""The header that names what a call holds and what means nothing here."""

from __future__ import annotations

import re

_HEADER = "berth-ignored-parameters"
_UNSAFE_IN_HEADER = re.compile(r"[^A-Za-z0-9_.-]")
_MAX_NAMED = 20


def noted(ignored: list[str]) -> dict[str, str]:
    """The header that names what was ignored; names are the client's, so they are cleaned."""
    if not ignored:
        return {}
    named = [_UNSAFE_IN_HEADER.sub("?", name)[:64] for name in ignored[:_MAX_NAMED]]
    more = ["..."] if len(ignored) > _MAX_NAMED else []
    return {_HEADER: ", ".join(named + more)}


def noted_raw(ignored: list[str]) -> list[tuple[bytes, bytes]]:
    """The same as a stream's headers are written."""
    return [(name.encode(), value.encode()) for name, value in noted(ignored).items()]
