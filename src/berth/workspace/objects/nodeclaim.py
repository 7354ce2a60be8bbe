"""A Karpenter NodeClaim: one node of the Workspace's instance type."""

from __future__ import annotations

from typing import Any

from berth.cluster.fields import Json, text
from berth.fit.placement import GPU_RESOURCE
from berth.workspace import names
from berth.workspace.objects.common import quantity
from berth.workspace.spec import Identity, Spec

API_VERSION, KIND = "karpenter.sh/v1", "NodeClaim"
_KAITO_GROUP = "kaito.sh"  # of the node classes of KAITO's gpu-provisioner


def node_claim(
    name: str, *, who: Identity, spec: Spec, gpus: int, disk: int, node_class: Json
) -> dict[str, Any]:
    """A node with the selector's labels, the taint of GPU nodes, and room for the weights.

    It has no namespace, so no Workspace can own it: the finalizer is there for it.

    Args:
        gpus: that a pod needs; 0 for a CPU node.
        disk: bytes.
    """
    kaito = text(node_class, "group") == _KAITO_GROUP
    labels = {
        **spec.selector,
        names.WORKSPACE_LABEL: names.label_value(who.name),
        names.NAMESPACE_LABEL: names.label_value(who.namespace),
    }
    requirements = [
        {"key": names.INSTANCE_TYPE, "operator": "In", "values": [spec.instance_type]},
        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
    ]
    # gpu-provisioner reads the size of the node's disk from `storage`; in Karpenter's own
    # providers no machine has such a resource.
    requests = {"storage" if kaito else "ephemeral-storage": quantity(disk)}
    if kaito:
        labels["karpenter.sh/nodepool"] = "kaito"
        labels["kaito.sh/machine-type"] = "gpu" if gpus else "cpu"
    else:
        # Without it a provider may take spot capacity, which goes away under a model.
        requirements.append(
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}
        )
    if gpus:
        requests[GPU_RESOURCE] = str(gpus)
    found: dict[str, Any] = {
        "nodeClassRef": {key: text(node_class, key) for key in ("group", "kind", "name")},
        "requirements": requirements,
        "resources": {"requests": requests},
    }
    if gpus:
        found["taints"] = [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"karpenter.sh/do-not-disrupt": "true"},
        },
        "spec": found,
    }
