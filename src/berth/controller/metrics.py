"""Prometheus metrics: names and buckets are those of Kubernetes' own controllers, if they exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from berth.controller.core import Outcome
from berth.controller.kinds import NODE_CLAIM, WORKSPACE, meta
from berth.controller.queue import WorkQueue
from berth.controller.store import Store

_QUEUE = "workspace"
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60)


class Metrics:
    """The Meter of a Controller, and what is read at each scrape."""

    def __init__(self, store: Store, queue: WorkQueue, leads: Callable[[], bool]) -> None:
        self.registry = CollectorRegistry()
        self._adds = Counter(
            "workqueue_adds", "Keys added.", ["name"], registry=self.registry
        ).labels(_QUEUE)
        self._retries = Counter(
            "workqueue_retries", "Keys that are tried again.", ["name"], registry=self.registry
        ).labels(_QUEUE)
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "Time a key waits until it is looked at.",
            ["name"],
            buckets=_SECONDS,
            registry=self.registry,
        ).labels(_QUEUE)
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "Time of one reconcile.",
            ["name"],
            buckets=_SECONDS,
            registry=self.registry,
        ).labels(_QUEUE)
        self._results = Counter(
            "berth_reconcile",
            "Reconciles by how they ended.",
            ["result", "error"],
            registry=self.registry,
        )
        self._requests = Counter(
            "rest_client_requests",
            "Requests to the API server; code 0 is no answer.",
            ["method", "code"],
            registry=self.registry,
        )
        leader = Gauge(
            "leader_election_master_status",
            "1 while this controller holds the lease.",
            ["name"],
            registry=self.registry,
        ).labels(_QUEUE)
        leader.set_function(lambda: float(leads()))
        depth = Gauge("workqueue_depth", "Keys that wait.", ["name"], registry=self.registry)
        depth.labels(_QUEUE).set_function(lambda: float(len(queue)))
        self.registry.register(_Workspaces(store))

    def added(self) -> None:
        self._adds.inc()

    def took(self, waited: float) -> None:
        self._waited.observe(waited)

    def reconciled(self, outcome: Outcome | None, seconds: float) -> None:
        self._worked.observe(seconds)
        if outcome is None:
            self._results.labels("raised", "planner").inc()
            self._retries.inc()
            return
        error = "" if outcome.error is None else type(outcome.error).__name__
        self._results.labels(outcome.result, error).inc()
        if outcome.result == "failed":
            self._retries.inc()

    def requested(self, method: str, status: int) -> None:
        """Called from worker threads."""
        self._requests.labels(method, str(status)).inc()


class _Workspaces(Collector):
    """How the Workspaces are, read from the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        conditions = GaugeMetricFamily(
            "berth_workspaces",
            "Workspaces by condition, its status and its reason.",
            labels=["condition", "status", "reason"],
        )
        counted: dict[tuple[str, str, str], int] = {}
        named = ["namespace", "workspace"]
        need = GaugeMetricFamily(
            "berth_fit_need_bytes", "What a model needs of a GPU.", labels=named
        )
        usable = GaugeMetricFamily(
            "berth_fit_usable_bytes", "What it may take of it.", labels=named
        )
        for workspace in self._store.all(WORKSPACE):
            status = workspace.get("status") or {}
            for condition in status.get("conditions") or ():
                label = (condition["type"], condition["status"], condition.get("reason", ""))
                counted[label] = counted.get(label, 0) + 1
            fit, m = status.get("fit") or {}, meta(workspace)
            for family, field in ((need, "needBytes"), (usable, "usableBytes")):
                if field in fit:
                    family.add_metric([m["namespace"], m["name"]], float(fit[field]))
        for label, count in sorted(counted.items()):
            conditions.add_metric(list(label), count)
        claims = GaugeMetricFamily("berth_node_claims", "NodeClaims of all Workspaces.")
        claims.add_metric([], len(self._store.all(NODE_CLAIM)))
        yield from (conditions, need, usable, claims)
