"""Reading API objects of any shape: what is missing or odd reads as empty.

An object that was stored with another schema, or by hand, must not stop its reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Json = Mapping[str, Any]

_EMPTY: Json = {}
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


def _at(obj: object, path: tuple[str, ...]) -> object:
    for key in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(key)
    return obj


def mapping(obj: object, *path: str) -> Json:
    """The object at this path; empty if there is none."""
    found = _at(obj, path)
    return found if isinstance(found, Mapping) else _EMPTY


def items(obj: object, *path: str) -> tuple[Json, ...]:
    """The objects of the list at this path, without what is no object."""
    found = _at(obj, path)
    if not isinstance(found, list | tuple):
        return ()
    return tuple(item for item in found if isinstance(item, Mapping))


def text(obj: object, *path: str) -> str:
    """The string at this path; "" if there is none."""
    found = _at(obj, path)
    return found if isinstance(found, str) else ""


def whole(obj: object, *path: str) -> int | None:
    """The integer at this path; None if there is none."""
    found = _at(obj, path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def flag(obj: object, *path: str) -> bool:
    """Whether the path leads to true."""
    return _at(obj, path) is True


def words(obj: object, *path: str) -> dict[str, str]:
    """The map of strings at this path (labels, annotations), without what is no string."""
    return {
        key: value
        for key, value in mapping(obj, *path).items()
        if isinstance(key, str) and isinstance(value, str)
    }


def moment(obj: object, *path: str) -> datetime | None:
    """The time at this path, as the API writes it (RFC 3339); None if there is none."""
    found = _MOMENT.fullmatch(text(obj, *path))
    if found is None:
        return None
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3]}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def written(when: datetime) -> str:
    """A time as the API writes it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_of(obj: object) -> str:
    """metadata.name."""
    return text(obj, "metadata", "name")


def uid_of(obj: object) -> str:
    """metadata.uid."""
    return text(obj, "metadata", "uid")


def is_going(obj: object) -> bool:
    """Whether it is being deleted."""
    return bool(text(obj, "metadata", "deletionTimestamp"))


def owned_by(obj: object, uid: str) -> bool:
    """Whether the object's controlling owner has this uid."""
    return any(
        text(owner, "uid") == uid and flag(owner, "controller")
        for owner in items(obj, "metadata", "ownerReferences")
    )


def condition(obj: object, kind: str) -> Json:
    """The entry of status.conditions of this type; empty if there is none."""
    for entry in items(obj, "status", "conditions"):
        if text(entry, "type") == kind:
            return entry
    return _EMPTY
