"""charts/berth: the dashboard and the alerts ask for figures that there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from berth.controller.core import Outcome
from berth.controller.errors import Conflict
from berth.controller.kinds import NODE_CLAIM, WORKSPACE
from berth.controller.metrics import Metrics as ControllerMetrics
from berth.controller.queue import WorkQueue
from berth.controller.store import Store
from berth.protocol.messages import Ready
from berth.server.metrics import Metrics as ServerMetrics
from charts.rendered import render

# What Prometheus adds to every figure of a pod that the operator's ServiceMonitors find.
_TARGET = {"namespace", "pod", "service", "instance", "job", "container", "endpoint"}
_TIMES = ("$__rate_interval", "1m"), ("$__interval", "1m"), ("$__range", "1h")


def exposed() -> dict[str, set[str]]:
    """Every figure of a server and a controller that have done something, with its labels."""
    server = ServerMetrics()
    server.http_request("/chat", "POST", 200, 0.1)
    server.of("pocket").engine_ready(
        Ready(
            engine="native",
            architecture="LlamaForCausalLM",
            vocab_size=1,
            max_model_len=1,
            max_num_seqs=1,
            block_size=1,
            blocks_total=1,
            dtype="bfloat16",
            device="cpu",
            degree=1,
            weight_bytes=1,
            kv_bytes=1,
            load_seconds=1.0,
            estimated={"weights": 1},
        )
    )
    store = Store()
    condition = {"type": "WorkspaceReady", "status": "False", "reason": "x"}
    store.upsert(
        WORKSPACE,
        {
            "metadata": {"namespace": "ai", "name": "a", "uid": "1", "resourceVersion": "1"},
            "status": {"conditions": [condition], "fit": {"needBytes": 1, "usableBytes": 2}},
        },
    )
    store.has_claims = True
    assert store.all(NODE_CLAIM) == ()
    controller = ControllerMetrics(store, WorkQueue(), lambda: True)
    controller.added()
    controller.took(0.1)
    controller.reconciled(Outcome(result="failed", error=Conflict("no")), 0.1)
    controller.requested("GET", 200)
    found: dict[str, set[str]] = {}
    for text in (server.exposition(), generate_latest(controller.registry)):
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def selectors(query: str) -> Iterator[promql_parser.VectorSelector]:
    """Every figure that a query reads. Raises ValueError where Prometheus would not parse it."""
    for name, value in _TIMES:
        query = query.replace(name, value)
    found: list[promql_parser.VectorSelector] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    yield from found


def dashboard() -> Any:
    data = render("berth", {"dashboard": {"enabled": True}}).one("ConfigMap")["data"]
    (text,) = data.values()
    return json.loads(text)


def panel_queries() -> list[tuple[str, str]]:
    return [
        (panel["title"], target["expr"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


def alerts() -> list[Any]:
    rule = render("berth", {"prometheusRule": {"enabled": True}}).one("PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def test_every_query_reads_figures_that_are_exposed() -> None:
    there = exposed()
    queries = [*panel_queries(), *((alert["alert"], alert["expr"]) for alert in alerts())]
    assert len(queries) > 30
    for title, query in queries:
        read = list(selectors(query))
        assert read, title
        for selector in read:
            assert selector.name in there, title
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert labels <= there[selector.name] | _TARGET, title


def test_what_is_not_exposed_would_be_noticed() -> None:
    assert "vllm:num_requests_lost" not in exposed()
    with pytest.raises(ValueError, match="parenthesis"):
        list(selectors("sum(rate(a[1m])"))


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_grafanas_sidecar_finds_it_by_its_label() -> None:
    labels = {"grafana_dashboard": "1"}
    given = render("berth", {"dashboard": {"enabled": True}}).one("ConfigMap")["metadata"]["labels"]
    assert labels.items() <= given.items()


def test_alerts_say_what_is_wrong_in_prometheus_own_words() -> None:
    for alert in alerts():
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["labels"]["severity"] in ("warning", "critical")
    told = {alert["alert"]: alert["annotations"]["summary"] for alert in alerts()}
    assert "{{ $labels.model_name }}" in told["BerthRequestsWait"]
