"""All objects of a Workspace, in the order in which they are made."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from berth.cluster.fields import words
from berth.workspace import names
from berth.workspace.objects.common import Plan
from berth.workspace.objects.policies import network_policy, pod_disruption_budget
from berth.workspace.objects.services import headless_service, service
from berth.workspace.objects.stateful_set import stateful_set


def wanted_objects(plan: Plan) -> tuple[dict[str, Any], ...]:
    """Each with a hash of itself, by which a field that is no longer wanted is noticed."""
    found = [headless_service(plan), service(plan), pod_disruption_budget(plan)]
    # What a pod of somebody else's needs of the network, only its author knows.
    if plan.settings.network_policy and plan.spec.template is None:
        found.insert(0, network_policy(plan))
    found.append(_versioned(stateful_set(plan)))
    return tuple(_hashed(one) for one in found)


def _versioned(workload: dict[str, Any]) -> dict[str, Any]:
    """Its pods say themselves of which template they are, whatever became of it since."""
    template = workload["spec"]["template"]
    annotations = {**template["metadata"].get("annotations", {}), names.VERSION: _hash(template)}
    template["metadata"] = {**template["metadata"], "annotations": annotations}
    return workload


def version_of(workload: Mapping[str, Any]) -> str:
    """Of the template that a StatefulSet has now."""
    return words(workload, "spec", "template", "metadata", "annotations").get(names.VERSION, "")


def surge_of(workload: dict[str, Any], workspace: str) -> dict[str, Any]:
    """A second StatefulSet with one pod of the same version, beside the first one's."""
    made = copy.deepcopy(workload)
    label = {names.SURGE: "true"}
    m, spec = made["metadata"], made["spec"]
    m["name"] = names.surge(workspace)
    m["labels"] = {**m["labels"], **label}
    m["annotations"] = {}
    spec["replicas"] = 1
    spec["selector"] = {"matchLabels": {**spec["selector"]["matchLabels"], **label}}
    template = spec["template"]
    template["metadata"]["labels"] = {**template["metadata"]["labels"], **label}
    # It may be on the node of the pod that it stands in for.
    template["spec"]["affinity"].pop("podAntiAffinity", None)
    return _hashed(made)


def _hashed(wanted: dict[str, Any]) -> dict[str, Any]:
    """Of the spec, and of the rest: only the first is worth a restart."""
    rest = {key: value for key, value in wanted.items() if key != "spec"}
    mark = f"{_hash(wanted['spec'])}.{_hash(rest)}"
    wanted["metadata"].setdefault("annotations", {})[names.APPLIED] = mark
    return wanted


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return names.digest(text, 16)
