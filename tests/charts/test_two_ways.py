"""charts/model and the controller make the same pod of the same model."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from charts import planned as controllers
from charts.rendered import ROOT, Object, container, render


@cache
def planned() -> dict[str, Object]:
    """What the controller applies for the built-in model, by kind."""
    example = ROOT / "workspace-examples/pocket/pocket.yaml"
    return controllers.planned(example, namespace="ai", models={"apiKeySecret": "pocket-keys"})


def pods() -> tuple[Object, Object]:
    """The chart's and the controller's."""
    ours = render("model").one("StatefulSet")["spec"]["template"]["spec"]
    return ours, planned()["StatefulSet"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    "key",
    [
        "securityContext",
        "terminationGracePeriodSeconds",
        "automountServiceAccountToken",
        "enableServiceLinks",
    ],
)
def test_pods_have_the_same(key: str) -> None:
    chart, controller = pods()
    assert chart[key] == controller[key]


@pytest.mark.parametrize(
    "key", ["securityContext", "lifecycle", "terminationMessagePolicy", "ports", "name"]
)
def test_containers_have_the_same(key: str) -> None:
    chart, controller = (container({"spec": spec}) for spec in pods())
    assert chart[key] == controller[key]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_are_the_same_but_for_the_time_that_loading_may_take(probe: str) -> None:
    def asked(spec: Object) -> Any:
        of = dict(container({"spec": spec})[probe])
        get = {**of.pop("httpGet"), "scheme": "HTTP"}
        if probe == "startupProbe":
            of.pop("failureThreshold")
        return get, of

    chart, controller = pods()
    assert asked(chart) == asked(controller)


def test_they_write_to_the_same_places() -> None:
    chart, controller = (
        {m["mountPath"] for m in container({"spec": spec})["volumeMounts"]} for spec in pods()
    )
    assert chart == controller


def test_they_have_the_same_environment() -> None:
    chart, controller = (
        {entry["name"]: entry for entry in container({"spec": spec})["env"]} for spec in pods()
    )
    # The chart cannot look into the catalogue: it does not know that nothing is pulled for pocket.
    controller.pop("HF_HUB_OFFLINE")
    assert chart == controller


def test_on_cpu_both_limit_the_memory_that_they_request() -> None:
    for spec in pods():
        resources = container({"spec": spec})["resources"]
        assert resources["limits"]["memory"] == resources["requests"]["memory"]


def test_a_drain_may_do_the_same() -> None:
    def budget(item: Object) -> Object:
        return {key: value for key, value in item["spec"].items() if key != "selector"}

    assert budget(render("model").one("PodDisruptionBudget")) == budget(
        planned()["PodDisruptionBudget"]
    )


def test_both_are_rolled_out_at_once() -> None:
    chart, controller = (
        render("model").one("StatefulSet")["spec"],
        planned()["StatefulSet"]["spec"],
    )
    assert chart["podManagementPolicy"] == controller["podManagementPolicy"] == "Parallel"
    assert chart["serviceName"] == "pocket-headless"
    assert controller["serviceName"] == "workspace-pocket-headless"
