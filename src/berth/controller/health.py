"""/healthz, /readyz and /metrics on a small HTTP server in the controller's own event loop.

That loop answers: if it hangs, /healthz hangs too, and the kubelet starts the pod again.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

# What is wrong, as a sentence; empty if nothing is.
Probe = Callable[[], str]


class HealthServer:
    """Serves from `start` to `stop`.

    Args:
        alive: whether a new process would do better.
        ready: whether this one does its work, or waits to take over.
    """

    def __init__(
        self, host: str, port: int, *, alive: Probe, ready: Probe, registry: CollectorRegistry
    ) -> None:
        self._host, self._port = host, port
        self._alive, self._ready, self._registry = alive, ready, registry
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", lambda _: _answer(self._alive))
        app.router.add_get("/readyz", lambda _: _answer(self._ready))
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _answer(probe: Probe) -> web.Response:
    wrong = probe()
    return web.Response(status=503 if wrong else 200, text=f"{wrong or 'ok'}\n")
