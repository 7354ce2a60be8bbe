"""PodDisruptionBudget: a drain takes one pod at a time, and a broken one whenever it likes."""

from __future__ import annotations

from typing import Any

from berth.workspace import names
from berth.workspace.objects.common import Plan, metadata, selector


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
