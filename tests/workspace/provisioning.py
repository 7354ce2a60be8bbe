"""A cluster that makes its nodes: what Karpenter does with the claims, for tests of them."""

from __future__ import annotations

from typing import Any

from berth.workspace.observed import Settings
from workspace.worlds import Cluster, Object, cpu_node, gpu_node, workspace

FINALIZER = "workspace.finalizer.kaito.sh"
CLASS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
A10G = ("NVIDIA-A10G", 23028)


def provisioning(preset: str | None = "falcon-7b", **changes: Any) -> Cluster:
    """A cluster without a GPU node, and a chart that provisions."""
    changes = {"instanceType": "g5.xlarge"} | changes
    return Cluster(
        workspace(preset, **changes),
        [cpu_node()],
        settings=Settings(provisioning=True, node_class=CLASS),
        claims=[],
    )


def claims_of(cluster: Cluster) -> dict[str, Object]:
    assert cluster.claims is not None
    return cluster.claims


def launch(cluster: Cluster, gpus: int = 1, product: tuple[str, int] = A10G) -> None:
    """Karpenter's part: every claim becomes a node with its labels."""
    for name, claim in claims_of(cluster).items():
        if claim.get("status", {}).get("nodeName"):
            continue
        labels = claim["metadata"]["labels"] | {"node.kubernetes.io/instance-type": "g5.xlarge"}
        taint = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
        cluster.nodes.insert(
            0, gpu_node(f"node-{name}", gpus, *product, labels=labels, taints=[taint])
        )
        claim["status"] = {
            "nodeName": f"node-{name}",
            "conditions": [
                {"type": kind, "status": "True"}
                for kind in ("Launched", "Registered", "Initialized", "Ready")
            ],
        }
