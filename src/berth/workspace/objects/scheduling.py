"""On which nodes pods may run, and which they tolerate."""

from __future__ import annotations

from typing import Any

from berth.fit.placement import DEFAULT_TOLERATIONS, PRESENT, PRODUCT
from berth.workspace import names
from berth.workspace.objects.common import Plan, selector


def affinity(plan: Plan) -> dict[str, Any]:
    """The selector's nodes, of the type and product that were measured; preferred ones first.

    Each pod gets a node of its own: `resource.count` is a number of nodes.
    """
    node: dict[str, Any] = {}
    required = _required(plan)
    if required:
        node["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [{"matchExpressions": required}]
        }
    preferred = [
        {
            "weight": 100,
            "preference": {
                "matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]
            },
        }
        for name in plan.spec.preferred_nodes
    ]
    if plan.shape.device == "cpu":
        # A GPU node's memory is left to what needs its GPUs, as long as another has room.
        without = {"key": PRESENT, "operator": "DoesNotExist"}
        preferred.append({"weight": 50, "preference": {"matchExpressions": [without]}})
    if preferred:
        node["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    term = {
        "topologyKey": names.HOSTNAME,
        "labelSelector": {
            "matchLabels": selector(plan),
            # A second pod of the same model, which takes over for a while, may be beside it.
            "matchExpressions": [{"key": names.SURGE, "operator": "DoesNotExist"}],
        },
    }
    found: dict[str, Any] = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    }
    if node:
        found["nodeAffinity"] = node
    return found


def tolerations() -> list[dict[str, str]]:
    """Of the taints that GPU pools have."""
    found = []
    for one in DEFAULT_TOLERATIONS:
        entry = {"key": one.key, "operator": one.operator}
        if one.value:
            entry["value"] = one.value
        if one.effect:
            entry["effect"] = one.effect
        found.append(entry)
    return found


def _required(plan: Plan) -> list[dict[str, Any]]:
    wanted = [(key, [value]) for key, value in sorted(plan.spec.selector.items())]
    if plan.shape.instance_types:
        wanted.append((names.INSTANCE_TYPE, list(plan.shape.instance_types)))
    if plan.shape.products:
        wanted.append((PRODUCT, list(plan.shape.products)))
    return [{"key": key, "operator": "In", "values": values} for key, values in wanted]
