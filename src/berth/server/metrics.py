"""GET /metrics: what dashboards and autoscalers for vLLM read, under vLLM's names, and our own.

Every figure is counted where it happens and once: each model's service reports to the observer that
`Metrics.of` gives for its name. Each app has its own registry.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from berth.server.model_metrics import Families, ModelMetrics

_HTTP = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def package_version() -> str:
    """Berth's version as installed; "unknown" if it runs from a bare source tree."""
    try:
        return version("berth")
    except PackageNotFoundError:
        return "unknown"


class _ProcessSeconds(Collector):
    """CPU time of this process: the server's part, for the engine has its own processes."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read the clock when scraped."""
        yield CounterMetricFamily(
            "berth_server_seconds",
            "CPU seconds of the server process; by generation tokens, the server's time a token.",
            value=time.process_time(),
        )


class Metrics:
    """One app's figures. Methods are called on the event loop's thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families = Families(self.registry)
        self._models: dict[str, ModelMetrics] = {}
        Gauge(
            "berth_build_info", "1, with the build's versions.", ["version", "python"],
            registry=self.registry,
        ).labels(package_version(), platform.python_version()).set(1)  # fmt: skip
        self._http = Counter(
            "http_requests", "HTTP requests by route, method and kind of status (2xx, 4xx, 5xx).",
            ["handler", "method", "status"], registry=self.registry,
        )  # fmt: skip
        self._http_seconds = Histogram(
            "http_request_duration_seconds", "From a request's head to the end of its answer.",
            ["handler", "method"], buckets=_HTTP, registry=self.registry,
        )  # fmt: skip
        ProcessCollector(registry=self.registry)
        self.registry.register(_ProcessSeconds())

    def of(self, model_name: str) -> ModelMetrics:
        """The observer of a model's service: the same for the same name."""
        if model_name not in self._models:
            self._models[model_name] = ModelMetrics(self._families, model_name)
        return self._models[model_name]

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One HTTP request was answered. `route` is a template, so that the series stay few."""
        self._http.labels(route, method, f"{status // 100}xx").inc()
        self._http_seconds.labels(route, method).observe(seconds)

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format 0.0.4."""
        for model in self._models.values():
            model.count()
        return generate_latest(self.registry)
