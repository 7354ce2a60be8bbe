"""The kinds that the controller reads or writes, and which Workspace an object belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from berth.workspace.names import NAMESPACE_LABEL, WORKSPACE_LABEL, label_value
from berth.workspace.types import GROUP, STORED_VERSION

Object = Mapping[str, Any]


class Key(NamedTuple):
    """A Workspace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the API, with what a request needs to address it."""

    group: str  # "" is the core group
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


WORKSPACE = Kind(GROUP, STORED_VERSION, "Workspace", "workspaces")
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets")
SERVICE = Kind("", "v1", "Service", "services")
DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
POD = Kind("", "v1", "Pod", "pods")
NODE = Kind("", "v1", "Node", "nodes", namespaced=False)
NODE_CLAIM = Kind("karpenter.sh", "v1", "NodeClaim", "nodeclaims", namespaced=False)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
SECRET = Kind("", "v1", "Secret", "secrets")
VOLUME_CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
EVENT = Kind("", "v1", "Event", "events")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")

CHILDREN = (STATEFUL_SET, SERVICE, DISRUPTION_BUDGET, NETWORK_POLICY)
# Kept in the store by watches. NodeClaims only if the cluster has that kind.
WATCHED = (WORKSPACE, *CHILDREN, POD, NODE)

# What pods may need; only asked for by name, and whether it is there.
NEEDED = {kind.kind: kind for kind in (SECRET, CONFIG_MAP, VOLUME_CLAIM, SERVICE_ACCOUNT)}

_BY_NAME = {
    (kind.api_version, kind.kind): kind for kind in (*WATCHED, NODE_CLAIM, CONFIG_MAP, EVENT, LEASE)
}


def kind_of(api_version: str, kind: str) -> Kind:
    """Raises ValueError for a kind that the controller has no business with."""
    try:
        return _BY_NAME[api_version, kind]
    except KeyError:
        raise ValueError(f"{api_version} {kind} is no kind that the controller writes") from None


def meta(obj: Object) -> Object:
    """An object's metadata."""
    found: Object = obj["metadata"]
    return found


def uid(obj: Object) -> str:
    return str(meta(obj).get("uid", ""))


def version_of(obj: Object) -> int:
    """The resourceVersion as a number. API servers count up; Kubernetes 1.35 documents it."""
    text = str(meta(obj).get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def tag_of(key: Key) -> Key:
    """A Workspace as the labels of its objects name it: a long name is shortened in a label."""
    return Key(key.namespace, label_value(key.name))


def tags_of(kind: Kind, obj: Object) -> Iterator[Key]:
    """The Workspaces that one object belongs to, by label and by owner, each as `tag_of` it."""
    m = meta(obj)
    namespace = str(m.get("namespace", ""))
    if kind == WORKSPACE:
        yield tag_of(Key(namespace, str(m["name"])))
        return
    labels = m.get("labels") or {}
    label = labels.get(WORKSPACE_LABEL)
    if label:
        yield Key(labels.get(NAMESPACE_LABEL, "") if kind == NODE_CLAIM else namespace, label)
    for owner in m.get("ownerReferences") or ():
        if owner.get("kind") == WORKSPACE.kind and label_value(owner["name"]) != label:
            yield tag_of(Key(namespace, owner["name"]))


def trimmed(kind: Kind, obj: Object) -> Object:
    """What is kept in memory: managedFields only of children; of another's pod what it takes."""
    if kind in CHILDREN:
        return obj
    m = {k: v for k, v in meta(obj).items() if k != "managedFields"}
    if kind != POD or WORKSPACE_LABEL in (m.get("labels") or {}):
        return {**obj, "metadata": m}
    spec = obj.get("spec") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {k: m[k] for k in kept if k in m},
        "spec": {
            "nodeName": spec.get("nodeName", ""),
            "containers": [_requests(c) for c in spec.get("containers") or ()],
            "initContainers": [_requests(c) for c in spec.get("initContainers") or ()],
        },
        "status": {"phase": (obj.get("status") or {}).get("phase", "")},
    }


def _requests(container: Object) -> Object:
    kept = ("name", "resources", "restartPolicy")
    return {k: container[k] for k in kept if k in container}
