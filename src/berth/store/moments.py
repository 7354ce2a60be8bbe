"""Moments and spans as people write them: 90d, 12h, 2027-01-31, 2027-01-31T12:00Z. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SPAN = re.compile(r"(\d{1,9})([mhdw])")
_LATEST = 253_402_300_799  # the last second of the year 9999


def span_of(text: str) -> int:
    """A span of time, in seconds. `0` is none.

    Raises ValueError where it is no span.
    """
    if text == "0":
        return 0
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no span of time; write 30m, 12h, 90d or 4w, for example")
    return int(match[1]) * _UNITS[match[2]]


def moment_of(text: str, now: int) -> int:
    """A moment in the future, in seconds since 1970: a span from `now`, or a date in UTC.

    Raises ValueError where it is neither, or has passed.
    """
    if _SPAN.fullmatch(text):
        moment = now + span_of(text)
    else:
        try:
            read = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is no moment; write 90d, 2027-01-31 or 2027-01-31T12:00Z, for example"
            ) from None
        moment = int(read.replace(tzinfo=read.tzinfo or UTC).timestamp())
    if moment <= now:
        raise ValueError(f"{text!r} has passed already")
    if moment > _LATEST:
        raise ValueError(f"{text!r} is after the year 9999")
    return moment


def shown(moment: int | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
