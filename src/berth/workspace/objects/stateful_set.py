"""The StatefulSet: replicas of a model, or the pods of one that spans several nodes."""

from __future__ import annotations

import copy
from typing import Any

from berth.cluster.fields import Json, items, mapping, words
from berth.workspace import names
from berth.workspace.objects.common import PORT, Plan, labels, metadata, selector
from berth.workspace.objects.container import READY, container, termination_seconds
from berth.workspace.objects.container import volumes as pod_volumes
from berth.workspace.objects.scheduling import affinity, tolerations
from berth.workspace.objects.weights import volume_claims
from berth.workspace.objects.weights import volumes as weight_volumes

USER = 10001  # `berth` in the images, with an entry in their /etc/passwd


def stateful_set(plan: Plan) -> dict[str, Any]:
    """All pods at once: a group's have to meet, and replicas have no order."""
    body: dict[str, Any] = {
        "replicas": plan.spec.count,
        "serviceName": names.headless_service(plan.who.name),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": selector(plan)},
        # Pods of two versions make no group: those of the old are all ended at once, with their
        # StatefulSet.
        "updateStrategy": {"type": "OnDelete" if plan.is_group else "RollingUpdate"},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
        "revisionHistoryLimit": 3,
        "template": _template(plan),
    }
    claims = volume_claims(plan) if plan.spec.template is None else []
    if claims:
        body["volumeClaimTemplates"] = claims
    found = metadata(plan, names.stateful_set(plan.who.name))
    found["annotations"] = {names.PLACED: plan.placed, names.ASKED: plan.asked}
    if plan.config:
        found["annotations"][names.CONFIG] = plan.config
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": found, "spec": body}


def _template(plan: Plan) -> dict[str, Any]:
    if plan.spec.template is not None:
        return _custom(plan, plan.spec.template)
    spec: dict[str, Any] = {
        "affinity": affinity(plan),
        "automountServiceAccountToken": False,
        "containers": [container(plan)],
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": termination_seconds(plan),
        "tolerations": tolerations(),
        "volumes": [*pod_volumes(plan), *weight_volumes(plan)],
    }
    secrets = plan.spec.preset_options.image_pull_secrets
    if secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in secrets]
    return {"metadata": {"labels": labels(plan)}, "spec": spec}


def _ask_whether_it_listens(spec: dict[str, Any]) -> None:
    """Give a pod without a readiness probe one that something accepts connections on its port.

    Without any, Kubernetes calls a pod ready as soon as its container runs, and the Workspace would
    be called ready before it was seen to answer.
    """
    containers = [dict(one) for one in items(spec, "containers")]
    if not containers or any(mapping(one, "readinessProbe") for one in containers):
        return
    containers[0]["readinessProbe"] = {"tcpSocket": {"port": PORT}, **READY}
    spec["containers"] = containers


def _custom(plan: Plan, template: Json) -> dict[str, Any]:
    """The Workspace's own pod: with our labels and nodes, and our tolerations besides its own."""
    spec = copy.deepcopy(dict(mapping(template, "spec")))
    own = list(items(spec, "tolerations"))
    spec["tolerations"] = own + [one for one in tolerations() if one not in own]
    spec["affinity"] = {**mapping(spec, "affinity"), **affinity(plan)}
    _ask_whether_it_listens(spec)
    found: dict[str, Any] = {
        "labels": {**words(template, "metadata", "labels"), **labels(plan)},
    }
    annotations = words(template, "metadata", "annotations")
    if annotations:
        found["annotations"] = annotations
    return {"metadata": found, "spec": spec}
