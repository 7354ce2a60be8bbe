"""Every value of both charts does something: with another one, something else is rendered."""

from __future__ import annotations

import copy
import json
from typing import Any

import helm_python
import pytest
import yaml

from charts.rendered import CHARTS, Object, generator, nested, render
from charts.variants import VARIANTS

# What looks at a cluster: test_install.
_OF_A_CLUSTER = {"models.apiKeySecretCheck"}
# Values that no type or default tells: those with a pattern, and what lists and maps hold.
_SAMPLES: dict[str, Any] = {
    "affinity": {"podAffinity": {}},
    "aliases": ["another"],
    "autoscaling.keda.serverAddress": "http://other:9090",
    "engine.extraArgs": ["--hang-timeout=9"],
    "env": [{"name": "OTHER", "value": "x"}],
    "fullnameOverride": "other",
    "httpRoute.hostnames": ["other.example.org"],
    "httpRoute.parentRefs": [{"name": "other"}],
    "httpRoute.path": "/other",
    "image.digest": "sha256:" + "1" * 64,
    "image.pullSecrets": ["other"],
    "keys.values": ["another-key"],
    "networkPolicy.apiServerCidrs": ["10.9.9.9/32"],
    "networkPolicy.apiServerPorts": [9443],
    "networkPolicy.egress": [{"ports": [{"port": 9, "protocol": "TCP"}]}],
    "networkPolicy.from": [{"podSelector": {"matchLabels": {"other": "x"}}}],
    "networkPolicy.metricsFrom": [{"podSelector": {"matchLabels": {"other": "x"}}}],
    "resources": {"requests": {"cpu": "9"}},
    "serviceMonitor.interval": "7s",
    "shmSize": "9Gi",
    "tolerations": [{"key": "other", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 9, "topologyKey": "other", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "watchNamespaces": ["other"],
    "weights.hub.endpoint": "https://other.example.org",
    "weights.hub.size": "9Gi",
}
# A key of the chart's own making is another one each time.
_FIXED = {"keys": {"values": ["a-fixed-key"]}}


def merged(one: Object, other: Object) -> Object:
    out = copy.deepcopy(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out


def schema_of(chart: str, path: str) -> Any:
    found = json.loads((CHARTS / chart / "values.schema.json").read_text())
    for part in path.split("."):
        found = found["properties"][part]
    return found


def others(chart: str, path: str, default: Any) -> list[Any]:
    """Values that are allowed, besides the default."""
    schema = schema_of(chart, path)
    if path in _SAMPLES:
        return [_SAMPLES[path]]
    if "enum" in schema:
        return [value for value in schema["enum"] if value != default]
    if schema["type"] == "boolean":
        return [not default]
    if schema["type"] == "integer":
        return [default + 1 if default < schema.get("maximum", default + 1) else default - 1]
    if schema["type"] == "string":
        return ["another"]
    assert schema["additionalProperties"] == {"type": "string"}, f"{path} needs a sample"
    return [{"other": "x"}]


def rows() -> list[Any]:
    return [
        pytest.param(chart, row.path, json.loads(row.default), id=f"{chart}-{row.path}")
        for chart in generator().NAMES
        for row in generator().Values((CHARTS / chart / "values.yaml").read_text()).rows()
        if row.path not in _OF_A_CLUSTER
    ]


def text_of(chart: str, values: Object) -> str | None:
    """What is rendered; None where the values exclude each other."""
    try:
        given = render(chart, values)
    except helm_python.HelmRenderError:
        return None
    return yaml.dump([given.objects, given.notes], Dumper=yaml.CSafeDumper)


@pytest.mark.parametrize(("chart", "path", "default"), rows())
def test_another_value_makes_a_difference(chart: str, path: str, default: Any) -> None:
    fixed = _FIXED if chart == "model" else {}
    for value in others(chart, path, default):
        for of, _, variant in VARIANTS:
            if of != chart:
                continue
            base = merged(variant, fixed)
            before = text_of(chart, merged(base, nested(path, default)))
            after = text_of(chart, merged(base, nested(path, value)))
            if after is not None and before != after:
                break
        else:
            pytest.fail(f"{path} = {value!r} changes nothing in any variant")
