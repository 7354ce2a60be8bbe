"""Running the server: listen at once, start the model beside it, and end in good order.

SIGTERM (or SIGINT, or POST /shutdown): readiness is false at once and new calls get 503, while the
socket stays open so that probes and late clients hear so; running calls finish within the grace
period; then the model is stopped and the process ends with 0. A second signal ends the wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from berth.server.app import create_app
from berth.server.connection import GuardedConnection
from berth.server.keys import Keys
from berth.server.lifecycle import Lifecycle
from berth.server.metrics import Metrics
from berth.server.settings import ServerSettings
from berth.serving.models import Models

log = logging.getLogger("berth.server")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_STOP_SECONDS = 10.0  # for the model to end once it has to
_CLOSE_SECONDS = 5  # for answers that are already written to reach their clients
_BACKLOG = 2048
_LISTEN_CURES = {
    errno.EADDRINUSE: "; choose another one with --port, or end the process that listens there",
    errno.EACCES: "; choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "; --host takes an address of this machine",
}


class CannotListen(Exception):
    """The address is taken or not ours; the message is a sentence."""


class ModelFailed(Exception):
    """The model cannot run, and is not tried again."""


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handlers, which would close the socket at once, and without
    looking ten times a second whether it should end: an idle server's work is taken from a token.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        await self._told.wait()

    def end(self, *, force: bool) -> None:
        """Close the socket; do not wait for open connections if forced."""
        self.should_exit = True
        self.force_exit = force
        self._told.set()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Port 0 takes a free one. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        cure = _LISTEN_CURES.get(error.errno or 0, "")
        raise CannotListen(f"cannot listen on {host} port {port}: {reason}{cure}") from None


async def serve(
    app: FastAPI,
    settings: ServerSettings,
    lifecycle: Lifecycle,
    *,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
    listener: socket.socket | None = None,
    on_listening: Callable[[str, int], None] | None = None,
) -> int:
    """Serve until a signal or a POST to /shutdown; the process's exit code.

    Args:
        start: brings the model up, and may go on watching it. The server listens meanwhile. When
            it raises, the server ends with 1; when it returns, the server goes on.
        stop: ends the model. Called once, whatever happened before; also while it loads.
        listener: a socket from `listen`; one is made from the settings otherwise.
        on_listening: called with host and port once connections are accepted.

    Raises:
        CannotListen: the settings' address is taken or not this machine's.
    """
    listener = listener or listen(settings.host, settings.port)
    web = _Uvicorn(_config(app))
    leave, hurry = asyncio.Event(), asyncio.Event()

    def told_to_leave() -> None:
        if leave.is_set():
            hurry.set()
        lifecycle.begin_drain()
        leave.set()

    lifecycle.on_shutdown = lambda: None if leave.is_set() else told_to_leave()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, told_to_leave)
    serving = asyncio.create_task(web.serve(sockets=[listener]))
    starting = asyncio.ensure_future(start())
    try:
        host, port = listener.getsockname()[:2]
        log.info("listening on %s port %d", host, port)
        if on_listening is not None:
            on_listening(host, port)
        failed = await _until_told(leave, serving, starting)
        lifecycle.begin_drain()
        if not failed:
            await _drain(settings.grace_seconds, lifecycle, hurry)
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await _stop(stop)
        web.end(force=hurry.is_set())
        await asyncio.gather(serving, return_exceptions=True)
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return 1 if failed else 0


async def serve_models(
    models: Models,
    settings: ServerSettings,
    metrics: Metrics,
    on_listening: Callable[[str, int], None] | None = None,
    keys: Keys | None = None,
) -> int:
    """Serve models from their start to their end; the process's exit code.

    A model that fails for good ends the server with 1: what runs it (Kubernetes, a person) then
    sees it, which an endless 503 would hide. `metrics` made the observers that the models'
    services report to.

    Raises: as `serve`.
    """
    lifecycle = Lifecycle()
    keys = keys or Keys(settings.api_keys)
    app = create_app(models, settings, lifecycle=lifecycle, metrics=metrics, keys=keys)

    async def start() -> None:
        models.start()
        await models.failed()
        raise ModelFailed

    async def stop() -> None:
        await models.drain(0)  # the calls had their grace period before
        await keys.close()

    return await serve(app, settings, lifecycle, start=start, stop=stop, on_listening=on_listening)


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run `serve` or `serve_models` on uvloop, in a process's main thread; the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=GuardedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # uvicorn's is written every second, asked or not; see connection.py
        # Forwarded addresses would decide which client may shut the server down.
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )


async def _until_told(
    leave: asyncio.Event, serving: asyncio.Future[None], starting: asyncio.Future[None]
) -> bool:
    """Wait for the order to leave. True if the model could not start or the server broke."""
    told = asyncio.create_task(leave.wait())
    waiting: set[asyncio.Future[None] | asyncio.Task[bool]] = {told, serving, starting}
    try:
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if told in done:
                return False
            if serving in done:
                log.error("the HTTP server ended without being asked to")
                return True
            error = starting.exception()
            if error is not None:
                if not isinstance(error, ModelFailed):
                    # Its message may hold what must not be logged. Of a model that cannot run, the
                    # engine's supervisor has said why.
                    log.error("the model cannot be served (%s)", type(error).__name__)
                return True
    finally:
        told.cancel()


async def _drain(seconds: float, lifecycle: Lifecycle, hurry: asyncio.Event) -> None:
    log.info("draining: %d running calls, at most %g s", lifecycle.in_flight, seconds)
    idle = asyncio.create_task(lifecycle.idle(seconds))
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait((idle, hurried), return_when=asyncio.FIRST_COMPLETED)
    for task in (idle, hurried):
        task.cancel()
    if lifecycle.in_flight:
        log.warning("ending with %d calls unfinished", lifecycle.in_flight)


async def _stop(stop: Callable[[], Awaitable[None]]) -> None:
    try:
        await asyncio.wait_for(stop(), _STOP_SECONDS)
    except TimeoutError:
        log.error("the model did not stop within %g s", _STOP_SECONDS)
