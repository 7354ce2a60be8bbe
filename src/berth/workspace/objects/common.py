"""What all objects of a Workspace have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from berth.workspace import names
from berth.workspace.observed import Settings
from berth.workspace.shape import Shape
from berth.workspace.spec import Identity, Spec
from berth.workspace.types import GROUP, KIND, STORED_VERSION

PORT = 5000  # of `berth serve`
RENDEZVOUS_PORT = 29500
PORT_NAME = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that the objects follow from."""

    who: Identity
    spec: Spec
    shape: Shape
    settings: Settings
    placed: str  # annotation of the StatefulSet
    asked: str  # another: a hash of what the Workspace asks of its pods
    config: str = ""  # another: which ConfigMap's options these are

    @property
    def is_group(self) -> bool:
        return self.shape.kind == "group"


def labels(plan: Plan) -> dict[str, str]:
    """Of every object and of the pods; the first is also how they are found."""
    found = {
        names.WORKSPACE_LABEL: names.label_value(plan.who.name),
        "app.kubernetes.io/managed-by": "berth",
        "app.kubernetes.io/component": "inference",
    }
    if plan.spec.preset is not None:
        found["app.kubernetes.io/name"] = names.label_value(plan.spec.preset.name)
    return found


def selector(plan: Plan) -> dict[str, str]:
    """Labels that the pods, and no others, have."""
    return {names.WORKSPACE_LABEL: names.label_value(plan.who.name)}


def metadata(plan: Plan, name: str) -> dict[str, Any]:
    """With the Workspace as owner, so that its end is theirs."""
    return {
        "name": name,
        "namespace": plan.who.namespace,
        "labels": labels(plan),
        "ownerReferences": [
            {
                "apiVersion": f"{GROUP}/{STORED_VERSION}",
                "kind": KIND,
                "name": plan.who.name,
                "uid": plan.who.uid,
                "controller": True,
            }
        ],
    }


def quantity(size: int) -> str:
    """Bytes as the API server writes them, rounded up to whole MiB."""
    mib = max(-(-size // 2**20), 1)
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"
