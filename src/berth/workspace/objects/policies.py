"""What the cluster may do to the pods: PodDisruptionBudget and NetworkPolicy.

A drain takes one pod at a time, and a broken one whenever it likes. Who may reach the pods, and
whom they may reach, is said by port.
"""

from __future__ import annotations

from typing import Any

from berth.workspace import names
from berth.workspace.objects.common import PORT, Plan, metadata, selector
from berth.workspace.objects.weights import are_pulled

_DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
_HTTPS = [{"port": 443, "protocol": "TCP"}]


def pod_disruption_budget(plan: Plan) -> dict[str, Any]:
    """One pod may go, also of a single one: a node must never be undrainable for a model."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(plan, names.stateful_set(plan.who.name)),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(plan)},
        },
    }


def network_policy(plan: Plan) -> dict[str, Any]:
    """In: the server's port. Out: names, and the hub where weights are pulled from it.

    The pods of a group talk to each other on ports that NCCL chooses.
    """
    peers = [{"podSelector": {"matchLabels": selector(plan)}}]
    ingress: list[dict[str, Any]] = [{"ports": [{"port": PORT, "protocol": "TCP"}]}]
    egress: list[dict[str, Any]] = [{"ports": _DNS}]
    if plan.is_group:
        ingress.append({"from": peers})
        egress.append({"to": peers})
    if are_pulled(plan):
        egress.append({"ports": _HTTPS})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(plan, names.stateful_set(plan.who.name)),
        "spec": {
            "podSelector": {"matchLabels": selector(plan)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }
