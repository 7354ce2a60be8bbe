"""The Service that clients call, and the one by which a group's pods find each other."""

from __future__ import annotations

from typing import Any

from berth.workspace import names
from berth.workspace.objects.common import (
    PORT,
    PORT_NAME,
    RENDEZVOUS_PORT,
    Plan,
    metadata,
    selector,
)


def service(plan: Plan) -> dict[str, Any]:
    """Port 80 to the server's. Of a group only the first pod answers requests."""
    chosen = selector(plan)
    if plan.is_group:
        chosen = {**chosen, names.POD_INDEX: "0"}
    target: str | int = PORT_NAME if plan.spec.template is None else PORT
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, names.service(plan.who.name)),
        "spec": {
            "type": "LoadBalancer" if plan.spec.load_balancer else "ClusterIP",
            "selector": chosen,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": target}],
        },
    }


def headless_service(plan: Plan) -> dict[str, Any]:
    """Names for the pods, also before they are ready: they have to meet to become so."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, names.headless_service(plan.who.name)),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(plan),
            "ports": [
                {
                    "name": "rendezvous",
                    "port": RENDEZVOUS_PORT,
                    "protocol": "TCP",
                    "targetPort": RENDEZVOUS_PORT,
                }
            ],
        },
    }


def rendezvous(plan: Plan) -> str:
    """HOST:PORT of a group's first pod. Without the cluster's domain, which is not known."""
    first = f"{names.stateful_set(plan.who.name)}-0"
    service = names.headless_service(plan.who.name)
    return f"{first}.{service}.{plan.who.namespace}.svc:{RENDEZVOUS_PORT}"
