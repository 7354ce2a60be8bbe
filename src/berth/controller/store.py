"""What was last read of the cluster, kind by kind. Late, repeated and reordered news do no harm.

Objects are compared by resourceVersion, which the API server counts up for all objects: news
older than what is known are dropped, and what a listing did not contain is gone. No object in
here is ever changed; a newer one takes its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from berth.cluster.fields import text
from berth.controller.kinds import (
    CHILDREN,
    NODE_CLAIM,
    WORKSPACE,
    Key,
    Kind,
    Object,
    meta,
    tag_of,
    tags_of,
    trimmed,
    uid,
    version_of,
)

_Name = tuple[str, str]  # namespace ("" for kinds without one), name
Change = tuple[Object | None, Object | None]  # before, after


class Store:
    """A cache of every kind. Not thread-safe: one event loop owns it."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[_Name, Object]] = defaultdict(dict)
        self._of: dict[tuple[Kind, Key], dict[_Name, Object]] = defaultdict(dict)  # by tag
        # Version at which an object went; forgotten at the next listing, which knows better.
        self._gone: dict[tuple[Kind, _Name], int] = {}
        # Version of the last listing of a kind in a namespace ("" for all of them).
        self._listed: dict[tuple[Kind, str], int] = {}
        self.has_claims = False  # whether the cluster has Karpenter's NodeClaims

    # Reading

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        return self._objects[kind].get((namespace or "", name))

    def all(self, kind: Kind) -> tuple[Object, ...]:
        return tuple(self._objects[kind].values())

    def of(self, kind: Kind, key: Key) -> tuple[Object, ...]:
        """Objects of a kind that belong to a Workspace by label or by owner, by name."""
        found = self._of.get((kind, tag_of(key)), {})
        return tuple(found[name] for name in sorted(found))

    def workspaces(self) -> list[Key]:
        return [Key(*name) for name in self._objects[WORKSPACE]]

    def config_maps(self) -> frozenset[Key]:
        """Those that Workspaces name as their inference.config."""
        found = ((ws, _config_of(obj)) for ws, obj in self._objects[WORKSPACE].items())
        return frozenset(Key(where, name) for (where, _), name in found if name)

    def configured_by(self, config_map: Key) -> list[Key]:
        """The Workspaces that name a ConfigMap."""
        return [
            Key(*name)
            for name, obj in self._objects[WORKSPACE].items()
            if Key(name[0], _config_of(obj)) == config_map
        ]

    def children(self, key: Key, names: frozenset[str]) -> tuple[Object, ...]:
        """Those of a Workspace, and whatever stands under one of the `names` it would take."""
        found: list[Object] = []
        for kind in CHILDREN:
            mine = self.of(kind, key)
            taken = {meta(obj)["name"] for obj in mine}
            strangers = (self.get(kind, key.namespace, name) for name in sorted(names - taken))
            found += mine
            found += (obj for obj in strangers if obj is not None)
        return tuple(found)

    def claims(self, key: Key) -> tuple[Object, ...] | None:
        """None: the cluster has no such kind."""
        return self.of(NODE_CLAIM, key) if self.has_claims else None

    def affected(self, kind: Kind, change: Change) -> list[Key]:
        """The Workspaces that an object belonged to, or belongs to now."""
        objects = [obj for obj in change if obj is not None]
        if kind == WORKSPACE:
            return [Key(*_name(obj)) for obj in objects[-1:]]
        tags = dict.fromkeys(tag for obj in objects for tag in tags_of(kind, obj))
        return [Key(*name) for tag in tags for name in self._of.get((WORKSPACE, tag), ())]

    # Writing

    def upsert(self, kind: Kind, obj: Object) -> Change | None:
        """Take in an object that was read. None: it is no news."""
        name = _name(obj)
        version = version_of(obj)
        before = self._objects[kind].get(name)
        if before is not None and version and version <= version_of(before):
            return None
        if before is None and version and version <= self._floor(kind, name):
            return None
        return before, self._put(kind, name, trimmed(kind, obj))

    def remove(self, kind: Kind, obj: Object) -> Change | None:
        """Take in that an object is gone. None: it is no news, or another has its name now."""
        name = _name(obj)
        before = self._objects[kind].get(name)
        version = version_of(obj)
        if before is not None and uid(before) != uid(obj) and version_of(before) > version:
            return None
        self._gone[kind, name] = max(version, self._gone.get((kind, name), 0))
        if before is None:
            return None
        self._drop(kind, name)
        return before, None

    def replace(
        self, kind: Kind, namespace: str | None, items: Sequence[Object], version: int
    ) -> list[Change]:
        """Take in a whole listing, of one namespace or of all."""
        changes = [change for obj in items if (change := self.upsert(kind, obj)) is not None]
        names = {_name(obj) for obj in items}
        for name, before in list(self._objects[kind].items()):
            if name not in names and namespace in (None, name[0]) and version_of(before) <= version:
                self._drop(kind, name)
                changes.append((before, None))
        self._listed[kind, namespace or ""] = version
        for gone in [g for g, at in self._gone.items() if g[0] == kind and at <= version]:
            if namespace in (None, gone[1][0]):
                del self._gone[gone]
        return changes

    def forget(self, kind: Kind) -> list[Change]:
        """Everything of a kind that the cluster no longer has."""
        changes: list[Change] = [(obj, None) for obj in self.all(kind)]
        for name in list(self._objects[kind]):
            self._drop(kind, name)
        return changes

    def _floor(self, kind: Kind, name: _Name) -> int:
        """News up to this version are of an object that has gone since."""
        return max(
            self._gone.get((kind, name), 0),
            self._listed.get((kind, name[0]), 0),
            self._listed.get((kind, ""), 0),
        )

    def _put(self, kind: Kind, name: _Name, obj: Object) -> Object:
        self._drop(kind, name)
        self._objects[kind][name] = obj
        for tag in tags_of(kind, obj):
            self._of[kind, tag][name] = obj
        return obj

    def _drop(self, kind: Kind, name: _Name) -> None:
        obj = self._objects[kind].pop(name, None)
        if obj is None:
            return
        for tag in tags_of(kind, obj):
            mine = self._of[kind, tag]
            mine.pop(name, None)
            if not mine:
                del self._of[kind, tag]


def _config_of(workspace: Object) -> str:
    return text(workspace, "inference", "config")


def _name(obj: Object) -> _Name:
    m = meta(obj)
    return str(m.get("namespace") or ""), str(m["name"])
