"""Where a pod may run: what it requests, and readiness, taints, selector and affinity of a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.cluster.quantity import parse_quantity
from berth.controller.kinds import Object


def request(pod: Object, resource: str) -> int:
    total = 0
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        for given in (resources.get("requests") or {}, resources.get("limits") or {}):
            if resource in given:
                total += parse_quantity(str(given[resource]))
                break
    return total


def suits(node: Object, pod: Object) -> bool:
    """Readiness, taints, node selector and required node affinity."""
    spec, labels = pod["spec"], node["metadata"]["labels"]
    ready = any(
        c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"]
    )
    if not ready or node["spec"].get("unschedulable"):
        return False
    tolerations = spec.get("tolerations") or ()
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] != "PreferNoSchedule" and not any(
            _tolerates(toleration, taint) for toleration in tolerations
        ):
            return False
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_matches(term, node) for term in required["nodeSelectorTerms"])


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    same_value = toleration.get("value", "") == taint.get("value", "")
    return bool(toleration.get("key") == taint["key"] and same_value)


def _matches(term: Mapping[str, Any], node: Object) -> bool:
    labels = node["metadata"]["labels"]
    fields = {"metadata.name": node["metadata"]["name"]}
    return all(_holds(r, labels) for r in term.get("matchExpressions") or ()) and all(
        _holds(r, fields) for r in term.get("matchFields") or ()
    )


def _holds(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"])
    match requirement["operator"]:
        case "In":
            return value in requirement["values"]
        case "NotIn":
            return value not in requirement["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            raise ValueError(f"operator {requirement['operator']} is not modelled")
