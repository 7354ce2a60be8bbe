"""charts/model: more copies when requests wait."""

from __future__ import annotations

import re
from typing import Any

import pytest

from berth.server.metrics import Metrics
from charts.rendered import Object, render


def scaler(kind: str, **of: Any) -> Object:
    name = {"HorizontalPodAutoscaler": "hpa", "ScaledObject": "keda"}[kind]
    keda = {"serverAddress": "http://prometheus:9090", **of.pop("keda", {})}
    values = {"autoscaling": {"type": name, "keda": keda, **of}}
    return dict(render("model", values).one(kind)["spec"])


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "ScaledObject"])
def test_it_scales_the_stateful_set(kind: str) -> None:
    target = scaler(kind)["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "pocket"}


def test_hpa_compares_waiting_requests_of_a_pod() -> None:
    spec = scaler("HorizontalPodAutoscaler", waitingRequests=5, minReplicas=2, maxReplicas=3)
    (metric,) = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == "vllm_num_requests_waiting"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "5"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 3)
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 60
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


def test_keda_asks_prometheus_for_a_figure_that_the_server_has() -> None:
    (trigger,) = scaler("ScaledObject", keda={"authentication": "prom"})["triggers"]
    assert trigger["metadata"]["serverAddress"] == "http://prometheus:9090"
    assert trigger["metadata"]["threshold"] == "10"
    assert trigger["authenticationRef"] == {"name": "prom"}
    query = trigger["metadata"]["query"]
    assert query == 'sum(vllm:num_requests_waiting{namespace="ai",service="pocket"})'
    (metric,) = re.findall(r"vllm:\w+", query)
    metrics = Metrics()
    metrics.of("pocket")
    assert f"# TYPE {metric} gauge" in metrics.exposition().decode()


def test_the_last_copy_stays() -> None:
    """Without a copy nothing counts waiting requests, so none would ever come back."""
    assert scaler("ScaledObject")["minReplicaCount"] == 1


def test_by_default_nothing_scales() -> None:
    given = render("model")
    assert given.all("HorizontalPodAutoscaler") == given.all("ScaledObject") == []
