"""Putting the app together: dialects, health, metrics, and the few layers around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from berth.server import health, openapi_page, pages
from berth.server.auth import Authentication
from berth.server.body_limits import BodyBudget
from berth.server.context import Server
from berth.server.dialect import PLAIN, Dialect, error_response
from berth.server.dialects import DIALECTS
from berth.server.errors import Malformed, NoSuchMethod, NoSuchRoute
from berth.server.front import Front
from berth.server.keys import Keys
from berth.server.lifecycle import Lifecycle
from berth.server.metrics import Metrics, package_version
from berth.server.routes import Routes
from berth.server.schema import Limits
from berth.server.settings import ServerSettings
from berth.server.shared_paths import SharedPaths
from berth.serving.models import Models
from berth.serving.service import Health

_DESCRIPTION = (
    "One open-weight language model, in OpenAI's dialect (/v1) and in that of KAITO's Llama-2 "
    "images (/generate, /chat)."
)


def create_app(
    models: Models,
    settings: ServerSettings,
    *,
    lifecycle: Lifecycle | None = None,
    metrics: Metrics | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
    keys: Keys | None = None,
) -> FastAPI:
    """The HTTP server of these models.

    The app answers as soon as it listens, whatever state they are in. It neither starts
    nor stops them; `run.serve` does.

    Args:
        lifecycle: the drain that the runner shares with the app.
        metrics: made the observers that the services report to.
        dialects: in which it may be talked to.
        keys: the keys that may call; by default the settings' own keys.
    """
    server = Server(
        models,
        settings,
        lifecycle or Lifecycle(),
        metrics or Metrics(),
        BodyBudget(settings.max_bodies_bytes),
        keys or Keys(settings.api_keys),
    )
    app = _bare_app()
    routes = Routes(app, SharedPaths(), dialects)

    def current() -> Health:
        return health.drained(models.health(), server.lifecycle.draining)

    for dialect in dialects:
        dialect.mount(routes.within(dialect), server)
    routes.shared.mount(routes, server)
    probes = routes.within(PLAIN)
    health.mount(probes, current)
    health.mount_metrics(probes, server.metrics)
    health.mount_fit(probes, server.metrics.of(models.default.name))
    pages.mount(app, server)
    openapi_page.install(app, routes, lambda: _limits(server))
    _explain_unrouted(app)
    # The last one added is the outermost.
    app.add_middleware(Authentication, settings=settings, keys=server.keys)
    app.add_middleware(Front, server=server, routes=routes)
    return app


def create_worker_app(current: Callable[[], Health]) -> FastAPI:
    """What a worker node of a multi-node engine answers: its probes, and nothing else."""
    app = _bare_app()
    health.mount(Routes(app, SharedPaths()).within(PLAIN), current)
    _explain_unrouted(app)
    return app


def _limits(server: Server) -> Limits:
    """What the document states. It is open, so behind keys it tells nothing of the model."""
    settings, model = server.settings, server.models.default
    service = model.service
    limits = Limits(choices=settings.max_choices, prompts=settings.max_prompts_per_call)
    if server.keys.asked:
        return limits
    if len(server.models.own_names) > 1:  # what holds of one does not of the others
        return replace(limits, names=server.models.names)
    if not service.max_model_len:
        return limits
    return replace(
        limits,
        context=service.max_model_len,
        vocabulary=service.vocab_size,
        roles=service.template_roles,
        fields=service.template_fields,
        generate=model.generates,
        names=server.models.names,
    )


def _bare_app() -> FastAPI:
    return FastAPI(
        title="Berth",
        version=package_version(),
        description=_DESCRIPTION,
        docs_url=None,  # pages.mount has them, without assets from other hosts
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # Front takes a trailing slash away; a redirect would lose a POST
        # FastAPI's own would write exceptions' messages, and so perhaps prompts, to a collector.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )


def _explain_unrouted(app: FastAPI) -> None:
    async def unrouted(request: Request, error: Exception) -> Response:
        """Starlette's own 404 and 405, in the dialect of the path."""
        assert isinstance(error, HTTPException)
        scope, path = request.scope, request.scope["path"]
        if error.status_code == 405:
            allowed = _allowed((error.headers or {}).get("Allow", ""))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"allow": f"{allowed}, OPTIONS"})
            return error_response(scope, NoSuchMethod(f"This route takes {allowed}.", allowed))
        if error.status_code == 404:
            near = _near(app, path)
            hint = f"Did you mean {near}? " if near else ""
            return error_response(
                scope, NoSuchRoute(f"There is no such route. {hint}/docs lists them all.")
            )
        return error_response(scope, Malformed(str(error.detail)))

    app.add_exception_handler(HTTPException, unrouted)


def _near(app: FastAPI, path: str) -> str | None:
    """The route that a client meant whose base URL lacks /v1, or has it twice."""
    routes = {route.path for route in app.routes if isinstance(route, Route)}
    for meant in (f"/v1{path}", path.removeprefix("/v1")):
        if meant != path and meant in routes:
            return meant
    return None


def _allowed(methods: str) -> str:
    """A route's methods, and HEAD beside GET, which Front answers."""
    taken = {method.strip() for method in methods.split(",")} - {""}
    return ", ".join(sorted(taken | ({"HEAD"} if "GET" in taken else set())))
