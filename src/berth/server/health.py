"""Probes and figures: is the process alive, may traffic come, what has it done.

/livez never asks the engine: an engine that hangs is its supervisor's case, and a restart of the
whole pod would only load the weights again. /readyz is true while a new request would be served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from starlette.responses import Response

from berth.server.metrics import Metrics, package_version
from berth.server.model_metrics import FitReport, ModelMetrics
from berth.server.reply import json_response
from berth.server.routes import Mount
from berth.serving.service import Health

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "alive"


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether traffic may come, and if not, why."""

    status: Annotated[str, msgspec.Meta(description="ready, or the state that it is in instead")]
    detail: str | None = None
    progress: Annotated[
        float | None, msgspec.Meta(description="share of the weights that is loaded, 0 to 1")
    ] = None


class Version(msgspec.Struct, frozen=True):
    """The software that answers."""

    version: str


def drained(health: Health, draining: bool) -> Health:
    """The service's health as the server sees it: a draining server is not ready."""
    if not draining:
        return health
    return Health(
        state="draining",
        detail="The server is shutting down; running requests are being finished.",
        ready=False,
        engine_restarts=health.engine_restarts,
    )


def readiness(health: Health) -> tuple[int, Readiness]:
    """Status and body of /readyz."""
    if health.ready:
        return 200, Readiness(status="ready")
    return 503, Readiness(status=health.state, detail=health.detail, progress=health.load_fraction)


class Healthy(msgspec.Struct, frozen=True):
    """The model answers."""

    status: str = "Healthy"


class Unhealthy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The model does not answer; `detail` is KAITO's sentence or the state's own."""

    detail: str
    state: str
    reason: str
    progress: float | None = None


def mount(mount: Mount, health: Callable[[], Health]) -> None:
    """Add GET /livez and GET /readyz, and what other systems' probes and gateways ask: KAITO's
    /healthz, vLLM's /health, SageMaker's /ping.
    """

    async def livez() -> Response:
        """Whether the server process answers. Never depends on the engine."""
        return json_response(Alive())

    async def readyz() -> Response:
        """Whether a request would be served now; 503 with the state and progress otherwise."""
        status, body = readiness(health())
        return json_response(body, status, {"retry-after": "1"} if status == 503 else None)

    async def healthy() -> Response:
        """Whether a request would be served now, as vLLM's /health and SageMaker's /ping say it."""
        return await readyz()

    async def healthz() -> Response:
        """Whether the model answers. 503 while it loads, restarts or drains."""
        now = health()
        if now.ready:
            return json_response(Healthy())
        loading = now.state in ("starting", "loading")
        body = Unhealthy(
            detail="Llama model not initialized" if loading else now.detail,
            state=now.state,
            reason=now.detail,
            progress=now.load_fraction,
        )
        return json_response(body, 503, {"retry-after": "1"})

    async def version() -> Response:
        """The version of Berth."""
        return json_response(Version(package_version()))

    mount.get("/livez", livez, {200: Alive})
    for path, handler in (("/readyz", readyz), ("/health", healthy), ("/ping", healthy)):
        mount.get(path, handler, {200: Readiness, 503: Readiness})
    mount.get("/healthz", healthz, {200: Healthy, 503: Unhealthy})
    mount.get("/version", version, {200: Version})


class NotMeasured(msgspec.Struct, frozen=True):
    """No engine has been ready yet."""

    detail: str


def mount_fit(mount: Mount, model: ModelMetrics) -> None:
    """Add GET /v1/berth/fit."""

    async def fit() -> Response:
        """The engine's memory as computed at its start, and as measured."""
        report = model.fit()
        if report is None:
            missing = NotMeasured("The engine is not ready yet.")
            return json_response(missing, 503, {"retry-after": "1"})
        return json_response(report)

    mount.get("/v1/berth/fit", fit, {200: FitReport, 503: NotMeasured})


def mount_metrics(mount: Mount, metrics: Metrics) -> None:
    """Add GET /metrics."""

    async def exposition() -> Response:
        """Figures in Prometheus' text format, under vLLM's names and Berth's own."""
        return Response(metrics.exposition(), headers={"content-type": _METRICS_TYPE})

    mount.bare("GET", "/metrics", exposition, {200: {"text/plain": ({"type": "string"},)}})
