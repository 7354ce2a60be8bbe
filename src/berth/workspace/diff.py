"""Whether a live object still is what is wanted of it. What others added to it is theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from berth.cluster.fields import words
from berth.cluster.quantity import quantity
from berth.workspace import names

# The key by which the API server tells the entries of a list apart; a list that has none of
# these is one value.
_KEYS = ("name", "mountPath", "containerPort", "uid", "topologyKey")
_QUANTITIES = frozenset({"requests", "limits"})
_SIZES = frozenset({"sizeLimit", "storage"})
# Fields of a StatefulSet that cannot be changed.
_FIXED = ("serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates")


def was_applied(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether this spec is what was applied last, whatever webhooks or hands made of it since."""
    new, old = (words(one, "metadata", "annotations").get(names.APPLIED) for one in (wanted, live))
    return new is not None and old is not None and new.split(".")[0] == old.split(".")[0]


def is_current(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether an Apply would change nothing.

    The hash among the annotations tells of what was applied last, also of a field that is no
    longer wanted; the rest shows what was changed by hand since.
    """
    return within(wanted, live)


def must_be_made_anew(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether a StatefulSet differs in fields that the API server keeps unchanged."""
    new, old = wanted.get("spec"), live.get("spec")
    if not isinstance(new, Mapping) or not isinstance(old, Mapping):
        return True
    return any(
        not within(new.get(field), old.get(field))
        or (field == "volumeClaimTemplates" and bool(new.get(field)) != bool(old.get(field)))
        for field in _FIXED
    )


def within(wanted: Any, live: Any, key: str = "") -> bool:
    """Whether everything that is wanted is there; what the API server filled in does not count."""
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return not wanted and live is None
        inner = "storage" if key in _QUANTITIES else ""
        return all(within(value, live.get(k), inner or k) for k, value in wanted.items())
    if isinstance(wanted, str | bytes) or not isinstance(wanted, Sequence):
        return _same(wanted, live, key)
    if not isinstance(live, Sequence) or isinstance(live, str):
        return not wanted and live is None
    named = _named(wanted)
    if named is None:
        return len(wanted) == len(live) and all(
            within(one, other) for one, other in zip(wanted, live, strict=True)
        )
    there = {
        str(entry[named]): entry for entry in live if isinstance(entry, Mapping) and named in entry
    }
    return all(within(entry, there.get(str(entry[named]))) for entry in wanted)


def _named(entries: Sequence[Any]) -> str | None:
    """The key that all entries have, each with another value."""
    if not entries or not all(isinstance(entry, Mapping) for entry in entries):
        return None
    for key in _KEYS:
        values = [str(entry.get(key)) for entry in entries if key in entry]
        if len(values) == len(entries) == len(set(values)):
            return key
    return None


def _same(wanted: Any, live: Any, key: str) -> bool:
    if wanted == live and isinstance(wanted, bool) == isinstance(live, bool):
        return True
    if key in _SIZES:
        size = quantity(wanted)
        return size is not None and size == quantity(live)
    return False
