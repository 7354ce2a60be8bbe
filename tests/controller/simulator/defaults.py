"""What an API server makes of an object by itself: defaults, and quantities in one spelling.

A planner that compares what it wants with what is there must see through this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.cluster.quantity import parse_quantity


def defaulted(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with the defaults of its kind."""
    made = dict(obj)
    match obj["kind"]:
        case "StatefulSet":
            made["spec"] = _stateful_set(obj.get("spec") or {})
        case "Service":
            made["spec"] = _service(obj.get("spec") or {})
        case "NetworkPolicy":
            spec = obj.get("spec") or {}
            made["spec"] = {"policyTypes": ["Ingress"], **spec}
    return made


def spelled(obj: Any) -> Any:
    """Quantities as the server writes them: 2048Mi is 2Gi, 1000m is 1."""
    if isinstance(obj, Mapping):
        return {
            key: {name: _quantity(value) for name, value in inner.items()}
            if key in ("requests", "limits") and isinstance(inner, Mapping)
            else _quantity(inner)
            if key == "sizeLimit"
            else spelled(inner)
            for key, inner in obj.items()
        }
    if isinstance(obj, list):
        return [spelled(item) for item in obj]
    return obj


def _quantity(value: Any) -> Any:
    text = str(value)
    if text.endswith("m"):
        return str(int(text[:-1]) // 1000) if int(text[:-1]) % 1000 == 0 else text
    if not text.endswith("i"):
        return text
    size = parse_quantity(text)
    for power, suffix in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{suffix}"
    return str(size)


def _stateful_set(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        **spec,
    }
    if "template" in made:
        template = dict(made["template"])
        template["metadata"] = {"creationTimestamp": None, **(template.get("metadata") or {})}
        template["spec"] = _pod(template.get("spec") or {})
        made["template"] = template
    return made


def _pod(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        **spec,
    }
    for part in ("containers", "initContainers"):
        if part in made:
            made[part] = [_container(container) for container in made[part]]
    made["volumes"] = [_volume(volume) for volume in made.get("volumes") or []]
    if not made["volumes"]:
        del made["volumes"]
    return made


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "resources": {},
        **container,
    }
    if "ports" in made:
        made["ports"] = [{"protocol": "TCP", **port} for port in made["ports"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe in made:
            made[probe] = {
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
                **made[probe],
            }
            get = made[probe].get("httpGet")
            if get:
                made[probe]["httpGet"] = {"scheme": "HTTP", **get}
    return made


def _volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(volume)
    for source in ("configMap", "secret"):
        if source in made:
            made[source] = {"defaultMode": 420, **made[source]}
    return made


def _service(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilyPolicy": "SingleStack",
        "ipFamilies": ["IPv4"],
        "clusterIP": "10.0.0.1",
        **spec,
    }
    made["clusterIPs"] = [made["clusterIP"]]
    made["ports"] = [
        {"protocol": "TCP", "targetPort": port["port"], **port} for port in made.get("ports") or []
    ]
    return made
