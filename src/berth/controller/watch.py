"""kopf as the loop that watches: every event goes into the store, and nothing else happens here.

Only kopf's event handlers are used. With those it writes nothing to any object: no annotation,
no finalizer, no status. kopf runs in a thread with an event loop of its own, because when it
stops it ends every task of its loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Literal

import aiohttp
import kopf

from berth.controller.kinds import Kind, Object

_log = logging.getLogger(__name__)

Deliver = Callable[[Kind, Literal["seen", "deleted"], Object], None]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before watching again after a failure
_APART = 3.0  # seconds between two listings of a kind, at least: pages of one come faster
_TRIES = 30  # of one request of kopf's, a second apart: so long a 403 may take to pass
# What a connection that is lost raises, also through aiohttp.
_LOST = (
    TimeoutError,
    ConnectionError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
)


class Watcher:
    """Watches some kinds until it is stopped; starts again after a failure.

    Args:
        kinds: what to watch, asked anew at every start.
        namespaces: empty for all.
        client: a kubernetes.client.ApiClient, whose address and credentials kopf gets.
        deliver: called in the event loop in which `run` runs.
        missed: called there when watching begins again, or a kind is listed again: kopf then
            reports what there is, but not what was deleted meanwhile.
    """

    def __init__(
        self,
        *,
        kinds: Callable[[], Sequence[Kind]],
        namespaces: tuple[str, ...],
        client: Any,
        deliver: Deliver,
        missed: Callable[[], None] = lambda: None,
    ) -> None:
        self.missed = missed
        self._kinds = kinds
        self._namespaces = namespaces
        self._client = client
        self._deliver = deliver
        self._random = random.Random()
        self._current: _Session | None = None
        self._stopping = False
        self.watching = False  # whether a session has begun and not ended

    async def run(self) -> None:
        """Returns after `stop`."""
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self._stopping:
            begun = loop.time()
            session = self._current = _Session(self, loop, tuple(self._kinds()))
            self.watching = True
            try:
                error = await session.run()
            finally:
                self.watching = False
            if self._stopping or session.asked_to_stop:
                continue
            # A server that is away is asked each second: it may be back in the next one.
            if loop.time() - begun > _LONGEST_PAUSE or _is_away(error):
                pause = _FIRST_PAUSE
            _log.warning(
                "watching failed and begins again: %s", error or "it ended without being stopped"
            )
            await asyncio.sleep(pause * self._random.uniform(0.75, 1.25))
            if not _is_away(error):
                pause = min(_LONGEST_PAUSE, pause * 2)
            self.missed()

    def restart(self) -> None:
        """Watch the kinds that there are now."""
        if self._current is not None:
            self._current.stop()

    def stop(self) -> None:
        self._stopping = True
        self.restart()

    # Called by a session, from its thread

    def registry(self, session: _Session) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="login")(self._login)
        for kind in session.kinds:
            kopf.on.event(
                group=kind.group,
                version=kind.version,
                plural=kind.plural,
                id=f"saw-{kind.plural}",
                registry=registry,
            )(session.handler(kind))
        return registry

    def deliver(self, kind: Kind, event: Literal["seen", "deleted"], obj: Object) -> None:
        self._deliver(kind, event, obj)

    @property
    def namespaces(self) -> tuple[str, ...]:
        return self._namespaces

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        """Asked at the start, and again whenever the API server answers 401."""
        configuration = self._client.configuration
        auth = configuration.auth_settings().get("BearerToken", {}).get("value", "")
        scheme, _, token = auth.rpartition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            scheme=(scheme or "Bearer") if token else None,
            token=token or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            proxy_url=configuration.proxy,
        )


class _Session:
    """One run of kopf in one thread."""

    def __init__(
        self, watcher: Watcher, loop: asyncio.AbstractEventLoop, kinds: tuple[Kind, ...]
    ) -> None:
        self.kinds = kinds
        self.asked_to_stop = False
        self._watcher = watcher
        self._loop = loop
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._flag: asyncio.Event | None = None
        self._ended: asyncio.Future[BaseException | None] = loop.create_future()
        self._thread = threading.Thread(target=self._main, name="watches", daemon=True)
        self._listed: dict[Kind, float] = {}  # when an object came of a listing

    async def run(self) -> BaseException | None:
        """Until it ends; what it ended of."""
        self._thread.start()
        try:
            return await self._ended
        except asyncio.CancelledError:
            self.stop()
            raise

    def stop(self) -> None:
        self.asked_to_stop = True
        own, flag = self._own_loop, self._flag
        if own is not None and flag is not None:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                own.call_soon_threadsafe(flag.set)

    def handler(self, kind: Kind) -> Callable[..., Any]:
        async def saw(event: Any, **_: Any) -> None:
            what: Literal["seen", "deleted"] = "deleted" if event["type"] == "DELETED" else "seen"
            # Items of a list carry neither of the two.
            obj = {"apiVersion": kind.api_version, "kind": kind.kind, **event["object"]}
            self._loop.call_soon_threadsafe(self._watcher.deliver, kind, what, obj)
            if event["type"] is None and self._is_listed_anew(kind):
                self._loop.call_soon_threadsafe(self._watcher.missed)

        return saw

    def _is_listed_anew(self, kind: Kind) -> bool:
        """Whether the object comes of another listing than the one that this session began with."""
        now = monotonic()
        before, self._listed[kind] = self._listed.get(kind, now), now
        return now - before > _APART

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._operate())
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the process is ending
            self._loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result(error)

    async def _operate(self) -> None:
        self._flag = asyncio.Event()
        self._own_loop = asyncio.get_running_loop()
        if self.asked_to_stop:
            return
        await kopf.operator(
            registry=self._watcher.registry(self),
            settings=_settings(),
            namespaces=self._watcher.namespaces,
            clusterwide=not self._watcher.namespaces,
            standalone=True,
            stop_flag=self._flag,
        )


class Backoffs:
    """Seconds between kopf's tries of one request, drawn anew for each request."""

    def __iter__(self) -> Iterator[float]:
        return (random.uniform(0.75, 1.25) * _FIRST_PAUSE for _ in range(_TRIES))


def _is_away(error: BaseException | None) -> bool:
    """Whether watching ended because the server could not be used, and not by a refusal."""
    lost = (
        TimeoutError,
        ConnectionError,
        aiohttp.ClientConnectionError,
        aiohttp.ClientPayloadError,
    )
    if isinstance(error, lost):
        return True
    status = getattr(error, "status", None)  # kopf's errors of an answer
    return isinstance(status, int) and (status >= 500 or status == 429)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events are ours to write
    settings.scanning.disabled = True  # which kinds there are, the resync finds out
    settings.process.ultimate_exiting_timeout = None
    settings.networking.error_backoffs = Backoffs()
    settings.networking.connect_timeout = 5
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.reconnect_backoff = 0.5
    settings.queueing.idle_timeout = 1
    settings.queueing.error_delays = (1, 2, 5, 10)
    return settings
