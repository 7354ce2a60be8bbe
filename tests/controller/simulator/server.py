"""An API server in memory: versions, generations, field owners, uids, finalizers, watches.

Objects are never changed in place: what a client has read stays what it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from berth.controller.errors import (
    AlreadyExists,
    Conflict,
    FieldConflict,
    Invalid,
    NamespaceGoing,
    NotFound,
)
from berth.controller.kinds import EVENT, NODE_CLAIM, WORKSPACE, Kind, Object
from controller.simulator import ssa
from controller.simulator.defaults import defaulted, spelled

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the watch log."""

    version: int
    kind: Kind
    type: Literal["seen", "deleted"]
    object: Object
    created: bool = False


@dataclass(slots=True)
class Server:
    """State of the cluster.

    Args:
        now: the virtual time.
        missing: kinds that this cluster does not serve.
    """

    now: Callable[[], datetime]
    missing: set[Kind] = field(default_factory=set)
    version: int = 100
    log: list[Change] = field(default_factory=list)
    going: set[str] = field(default_factory=set)  # namespaces that are being deleted
    objects: dict[Kind, dict[Name, dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    owners: dict[str, dict[str, set[ssa.Path]]] = field(default_factory=dict)  # by uid, manager
    on_change: Callable[[Change], None] = lambda change: None
    _uids: int = 0

    # Reading

    def find(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        return self.objects[kind].get((namespace or "", name))

    def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any]:
        self.check_served(kind)
        found = self.find(kind, namespace, name)
        if found is None:
            raise NotFound(f'{kind.plural} "{name}" not found')
        return found

    def search(
        self,
        kind: Kind,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        self.check_served(kind)
        return [
            obj
            for (where, _), obj in sorted(self.objects[kind].items())
            if namespace in (None, where)
            and (labels or {}).items() <= (obj["metadata"].get("labels") or {}).items()
        ]

    def check_served(self, kind: Kind) -> None:
        if kind in self.missing:
            raise NotFound("the server could not find the requested resource")

    # Writing

    def create(self, kind: Kind, obj: Object, manager: str = "user") -> dict[str, Any]:
        self.check_served(kind)
        namespace, name = _name(kind, obj)
        if self.find(kind, namespace, name) is not None:
            raise AlreadyExists(f'{kind.plural} "{name}" already exists')
        if namespace in self.going:
            raise NamespaceGoing(f"namespace {namespace} is being terminated")
        self._uids += 1
        made = defaulted(spelled(obj))
        made["metadata"] = {
            **obj["metadata"],
            "uid": f"uid-{self._uids}",
            "creationTimestamp": self.stamp(),
            "generation": 1,
        }
        if kind == WORKSPACE:
            made.pop("status", None)
        self.owners[made["metadata"]["uid"]] = {manager: set(_leaves(kind, obj))}
        return self._store(kind, made, created=True)

    def replace(self, kind: Kind, obj: Object, manager: str = "user") -> dict[str, Any]:
        """PUT with the resourceVersion as precondition, where there is one."""
        namespace, name = _name(kind, obj)
        live = self.get(kind, namespace, name)
        self._check_version(live, obj)
        wanted = dict(obj)
        if kind == WORKSPACE and "status" in live:
            wanted["status"] = live["status"]
        return self._update(kind, live, wanted, manager)

    def replace_status(self, kind: Kind, obj: Object) -> dict[str, Any]:
        namespace, name = _name(kind, obj)
        live = self.get(kind, namespace, name)
        self._check_version(live, obj)
        return self._store(kind, {**live, "status": obj.get("status") or {}}, before=live)

    def merge(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Mapping[str, Any],
        manager: str = "user",
    ) -> dict[str, Any]:
        """JSON merge patch: null takes away."""
        live = self.get(kind, namespace, name)
        self._check_version(live, patch)
        return self._update(kind, live, _merge_patch(live, patch), manager)

    def apply(self, kind: Kind, obj: Object, manager: str) -> dict[str, Any]:
        """Server-side apply without force."""
        self.check_served(kind)
        namespace, name = _name(kind, obj)
        applied = spelled(obj)
        live = self.find(kind, namespace, name)
        wanted_uid = obj["metadata"].get("uid")
        if live is None:
            if wanted_uid:
                raise Conflict(f"uid mismatch: {wanted_uid} and no existing object was found")
            return self.create(kind, obj, manager)
        if wanted_uid and wanted_uid != live["metadata"]["uid"]:
            raise Conflict("Precondition failed: UID in precondition does not match")
        merge_lists = kind != NODE_CLAIM
        owned = self.owners[live["metadata"]["uid"]]
        mine, wanted = owned.get(manager, set()), _leaves(kind, applied)
        there = _leaves(kind, live)
        conflicts = [
            (".".join(map(str, path)), f'conflict with "{other}"')
            for path, value in wanted.items()
            if path in there and there[path] != value
            for other, paths in owned.items()
            if other != manager and path in paths
        ]
        if conflicts:
            said = ", ".join(f"{path}: {who}" for path, who in sorted(conflicts))
            raise FieldConflict(f"Apply failed with {len(conflicts)} conflict: {said}", ())
        dropped = {
            path
            for path in mine - wanted.keys()
            if not any(path in paths for other, paths in owned.items() if other != manager)
        }
        merged = ssa.merge(live, applied, merge_lists=merge_lists)
        if dropped:
            merged = ssa.without(merged, dropped, merge_lists=merge_lists)
        merged["metadata"] = {
            **merged["metadata"],
            **{k: live["metadata"][k] for k in _KEPT if k in live["metadata"]},
        }
        owned[manager] = set(wanted)
        return self._store(kind, defaulted(merged), before=live)

    def delete(
        self, kind: Kind, namespace: str | None, name: str, uid: str | None = None
    ) -> dict[str, Any] | None:
        live = self.get(kind, namespace, name)
        if uid is not None and uid != live["metadata"]["uid"]:
            raise Conflict(f"uid mismatch: {uid} is not that of {name}")
        if live["metadata"].get("finalizers"):
            if "deletionTimestamp" in live["metadata"]:
                return live
            going = {**live["metadata"], "deletionTimestamp": self.stamp()}
            going["generation"] = going.get("generation", 1) + 1
            return self._store(kind, {**live, "metadata": going}, before=live)
        self._remove(kind, live)
        return None

    # The system's own writes

    def set_status(self, kind: Kind, live: Object, **status: Any) -> dict[str, Any]:
        """A controller of the cluster writes status, over whatever version is there now."""
        now = self.get(kind, *_name(kind, live))
        return self._store(kind, {**now, "status": {**now.get("status", {}), **status}}, before=now)

    def stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    # Inside

    def _update(
        self, kind: Kind, live: dict[str, Any], wanted: dict[str, Any], manager: str
    ) -> dict[str, Any]:
        wanted = defaulted(spelled(wanted))
        wanted["metadata"] = {
            **wanted["metadata"],
            **{k: live["metadata"][k] for k in _KEPT if k in live["metadata"]},
        }
        before, after = _leaves(kind, live), _leaves(kind, wanted)
        changed = {p for p, value in after.items() if before.get(p, _Nothing) != value}
        for paths in self.owners[live["metadata"]["uid"]].values():
            paths -= changed | (before.keys() - after.keys())
        self.owners[live["metadata"]["uid"]].setdefault(manager, set()).update(changed)
        stored = self._store(kind, wanted, before=live)
        if "deletionTimestamp" in stored["metadata"] and not stored["metadata"].get("finalizers"):
            self._remove(kind, stored)
        return stored

    def _store(
        self,
        kind: Kind,
        obj: dict[str, Any],
        *,
        before: dict[str, Any] | None = None,
        created: bool = False,
    ) -> dict[str, Any]:
        if before is not None:
            if obj == before:
                return before
            if any(
                obj.get(k) != before.get(k) for k in obj.keys() | before.keys() if k not in _META
            ):
                generation = before["metadata"].get("generation", 1) + 1
                obj = {**obj, "metadata": {**obj["metadata"], "generation": generation}}
        self.version += 1
        obj["metadata"] = {**obj["metadata"], "resourceVersion": str(self.version)}
        self.objects[kind][_name(kind, obj)] = obj
        self._tell(Change(self.version, kind, "seen", obj, created))
        return obj

    def _remove(self, kind: Kind, obj: dict[str, Any]) -> None:
        del self.objects[kind][_name(kind, obj)]
        self.version += 1
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self._tell(Change(self.version, kind, "deleted", last))

    def _tell(self, change: Change) -> None:
        if change.kind != EVENT:
            self.log.append(change)
        self.on_change(change)

    @staticmethod
    def _check_version(live: Object, sent: Mapping[str, Any]) -> None:
        version = (sent.get("metadata") or {}).get("resourceVersion")
        if version is not None and version != live["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified; please apply your changes to the latest")


class _Nothing:
    """Unlike every value."""


_META = ("metadata", "status", "apiVersion", "kind")
_KEPT = ("uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp")


def _name(kind: Kind, obj: Object) -> Name:
    m = obj["metadata"]
    if kind.namespaced and not m.get("namespace"):
        raise Invalid(f"{kind.kind} {m.get('name')}: metadata.namespace should be set")
    return (m["namespace"] if kind.namespaced else "", m["name"])


def _leaves(kind: Kind, obj: Object) -> dict[ssa.Path, Any]:
    found = ssa.leaves(obj, merge_lists=kind != NODE_CLAIM)
    return {path: value for path, value in found.items() if path[0] != "status"}


def _merge_patch(live: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(live) if isinstance(live, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_patch(merged.get(key), value)
    return merged


def names(objects: Iterable[Object]) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]
