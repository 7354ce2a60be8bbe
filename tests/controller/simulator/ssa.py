"""Server-side apply on plain JSON: leaves, owners, conflicts. As structured-merge-diff does it.

A leaf is a path of steps. A step is a key, or for lists that are merged by key the tuple of the
entry's key values. Lists without a known key are one leaf.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[object, ...]

# By the name of the list; of the built-in kinds that the controller applies.
_LIST_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "volumeClaimTemplates": (),
}
_CONTAINER_PORT, _SERVICE_PORT = ("containerPort", "protocol"), ("port", "protocol")
_IDENTITY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
_SYSTEM = {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}


def _keys(name: object, items: list[Any], merge_lists: bool) -> tuple[str, ...]:
    if not merge_lists or not items or not isinstance(items[0], Mapping):
        return ()
    if name == "ports":
        return _CONTAINER_PORT if "containerPort" in items[0] else _SERVICE_PORT
    return _LIST_KEYS.get(str(name), ())


def _entry(item: Mapping[str, Any], keys: tuple[str, ...]) -> Path:
    return tuple(item.get(key, "TCP" if key == "protocol" else None) for key in keys)


def leaves(obj: Mapping[str, Any], *, merge_lists: bool = True) -> dict[Path, Any]:
    """Every leaf that somebody may own: not the identity, and nothing that the server sets."""
    found = dict(_walk(obj, (), "", merge_lists))
    return {
        path: value
        for path, value in found.items()
        if path not in _IDENTITY and not (path[0] == "metadata" and path[1] in _SYSTEM)
    }


def _walk(value: Any, path: Path, name: object, merge_lists: bool) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _walk(inner, (*path, key), key, merge_lists)
        return
    keys = _keys(name, value, merge_lists) if isinstance(value, list) else ()
    if keys:
        for item in value:
            yield from _walk(item, (*path, _entry(item, keys)), "", merge_lists)
        return
    yield path, value


def merge(live: Any, applied: Any, *, name: object = "", merge_lists: bool = True) -> Any:
    """`live` with everything that `applied` says. Neither is changed."""
    if isinstance(live, Mapping) and isinstance(applied, Mapping):
        merged = dict(live)
        for key, value in applied.items():
            merged[key] = merge(live.get(key), value, name=key, merge_lists=merge_lists)
        return merged
    if isinstance(live, list) and isinstance(applied, list):
        keys = _keys(name, applied or live, merge_lists)
        if keys:
            wanted = {_entry(item, keys): item for item in applied}
            merged_list = [
                merge(item, wanted.pop(_entry(item, keys)), merge_lists=merge_lists)
                if _entry(item, keys) in wanted
                else item
                for item in live
            ]
            return [*merged_list, *wanted.values()]
    return applied


def without(obj: Any, paths: set[Path], *, name: object = "", merge_lists: bool = True) -> Any:
    """`obj` without these leaves, and without what becomes empty by that."""
    if () in paths:
        return None
    heads: dict[object, set[Path]] = {}
    for path in paths:
        heads.setdefault(path[0], set()).add(path[1:])
    if isinstance(obj, Mapping):
        kept: dict[str, Any] = {}
        for key, value in obj.items():
            if key not in heads:
                kept[key] = value
                continue
            rest = without(value, heads[key], name=key, merge_lists=merge_lists)
            if rest is not None:
                kept[key] = rest
        return kept or None
    if isinstance(obj, list):
        keys = _keys(name, obj, merge_lists)
        kept_list = []
        for item in obj:
            entry = _entry(item, keys)
            if entry not in heads:
                kept_list.append(item)
                continue
            rest = without(item, heads[entry], merge_lists=merge_lists)
            # Whoever made an entry owns it whole, with the defaults that the server gave it.
            if rest is not None and all(key in rest for key in keys if key in item):
                kept_list.append(rest)
        return kept_list or None
    return obj
