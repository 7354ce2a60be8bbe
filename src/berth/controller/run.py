"""The controller's process: from the settings to SIGTERM, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from berth.cluster.api_server import ClusterError, connect
from berth.controller.api import KubeApi
from berth.controller.config_watch import ConfigWatcher
from berth.controller.core import Reconciler
from berth.controller.errors import ApiError
from berth.controller.health import HealthServer
from berth.controller.kinds import NODE_CLAIM, WATCHED, WORKSPACE, Key, Kind, Object
from berth.controller.leader import Elector
from berth.controller.loop import Controller
from berth.controller.metrics import Metrics
from berth.controller.queue import WorkQueue
from berth.controller.settings import ControllerSettings
from berth.controller.store import Store
from berth.controller.watch import Watcher
from berth.presets.catalogue import load_presets
from berth.workspace.plan import plan

_log = logging.getLogger(__name__)

_LONGEST_IDLE = 1.0  # seconds a worker sleeps at most: an event that comes between two looks
_SYNC_RETRY, _REFUSED_RETRY = 1.5, 5.0  # seconds after a listing that failed, or was refused
_STUCK = 120.0  # seconds without a turn of the main loop's own task, until /healthz fails


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ControllerProcess:
    """Everything of one process. `run` returns after `stop`, or raises what it cannot live with."""

    def __init__(self, settings: ControllerSettings, client: Any) -> None:
        self.settings = settings
        clock = SystemClock()
        store = Store()
        queue = WorkQueue(random=random.Random())
        self._kick = asyncio.Event()
        self._stop = asyncio.Event()
        self._list = asyncio.Event()  # that everything is to be listed without waiting
        self.metrics = Metrics(store, queue, self.leads)
        api = KubeApi(client, self.metrics.requested, back=self._is_back)
        self.elector = Elector(
            api,
            clock,
            namespace=settings.lease_namespace,
            name=settings.lease_name,
            identity=settings.identity,
            term=settings.term,
        )
        self.controller = Controller(
            api=api,
            clock=clock,
            store=store,
            queue=queue,
            reconciler=Reconciler(
                api=api,
                clock=clock,
                store=store,
                plan=plan,
                settings=settings.workspace,
                presets=load_presets(),
                may_write=self.leads,
            ),
            namespaces=settings.namespaces,
            claims=settings.workspace.provisioning,
            leads=self.leads,
            meter=self.metrics,
            changed_kinds=self._watch_anew,
        )
        self.watcher = Watcher(
            kinds=self._kinds,
            namespaces=settings.namespaces,
            client=client,
            deliver=self._saw,
            missed=self._list.set,
        )
        self.configs = ConfigWatcher(client, self._saw_config)
        self.health = HealthServer(
            settings.host,
            settings.port,
            alive=self._not_alive,
            ready=self._not_ready,
            registry=self.metrics.registry,
        )
        self._turn = clock.monotonic()
        self._sync_error = "the cluster has not been listed yet"

    def leads(self) -> bool:
        return not self.settings.lease or self.elector.leads()

    def stop(self) -> None:
        """Begin the end; safe to call twice."""
        self._stop.set()
        self._kick.set()

    async def run(self) -> None:
        await self.health.start()
        _log.info("health and metrics on port %d", self.health.port)
        others = [
            asyncio.create_task(self._resync(), name="resync"),
            asyncio.create_task(self.watcher.run(), name="watch"),
        ]
        if self.settings.lease:
            others.append(asyncio.create_task(self._elect(), name="elect"))
        workers = [
            asyncio.create_task(self._work(), name=f"worker {n}")
            for n in range(self.settings.workers)
        ]
        ending = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait(
                [*others, *workers, ending], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {ending}:
                task.result()  # one that ends before the stop has failed
        finally:
            await self._end(workers, others)
            ending.cancel()

    # The tasks

    async def _work(self) -> None:
        queue, clock = self.controller.queue, self.controller.clock
        while not self._stop.is_set():
            if await self.controller.work():
                continue
            due = queue.next_at()
            waits = self.controller.synced and self.leads() and due is not None
            idle = max(0.01, due - clock.monotonic()) if waits and due is not None else 1.0
            self._kick.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._kick.wait(), min(idle, _LONGEST_IDLE))

    async def _resync(self) -> None:
        """List everything now and then; until the first time succeeds, nothing is reconciled."""
        while True:
            wait = self.settings.resync
            self._list.clear()
            try:
                await self.controller.resync()
                self._sync_error = ""
            except ApiError as error:
                wait = _SYNC_RETRY if error.over else _REFUSED_RETRY
                wait = max(wait, error.retry_after or 0.0)
                if not self.controller.synced:
                    self._sync_error = str(error)
                _log.warning("the cluster cannot be listed: %s", error)
            self.configs.follow(self.controller.store.config_maps())
            self._kick.set()
            # Not at once: what asks for it may happen many times in a row.
            await asyncio.sleep(min(wait, _SYNC_RETRY) * random.uniform(0.9, 1.1))
            with contextlib.suppress(TimeoutError):
                rest = max(wait - _SYNC_RETRY, 0.0) * random.uniform(0.9, 1.1)
                await asyncio.wait_for(self._list.wait(), rest)

    async def _elect(self) -> None:
        led = False
        while True:
            self._turn = time.monotonic()
            try:
                await self.elector.look()
            except ApiError as error:
                _log.warning("the lease cannot be renewed: %s", error)
            if self.elector.leads() != led:
                led = not led
                _log.info("%s %s", self.elector.identity, "leads" if led else "does not lead")
                self._kick.set()
            await asyncio.sleep(self.settings.term.retry * random.uniform(0.9, 1.1))

    async def _end(self, workers: Sequence[asyncio.Task[None]], others: list[Any]) -> None:
        """Finish what is under way, give the lease back, and close."""
        self._stop.set()
        self._kick.set()
        _, late = await asyncio.wait(workers, timeout=max(self.settings.grace, 0.01))
        for task in (*late, *(task for task in others if task.get_name() != "watch")):
            task.cancel()
        self.watcher.stop()
        await self.configs.stop()
        await asyncio.wait([*late, *others], timeout=5.0)
        with contextlib.suppress(ApiError):  # the lease runs out in any case
            await self.elector.release()
        await self.health.stop()
        _log.info("stopped")

    def _is_back(self) -> None:
        """The API server answers after an outage: watches may have missed what happened in it."""
        _log.info("the API server answers again")
        self.controller.is_back()
        self._list.set()
        self._kick.set()

    # Watches

    def _kinds(self) -> tuple[Kind, ...]:
        return (*WATCHED, NODE_CLAIM) if self.controller.store.has_claims else WATCHED

    def _watch_anew(self) -> None:
        self.watcher.restart()

    def _saw(self, kind: Kind, event: Any, obj: Object) -> None:
        self.controller.saw(kind, event, obj)
        if kind == WORKSPACE:
            self.configs.follow(self.controller.store.config_maps())
        self._kick.set()

    def _saw_config(self, config_map: Key) -> None:
        self.controller.saw_config(config_map)
        self._kick.set()

    # Probes

    def _not_alive(self) -> str:
        late = time.monotonic() - self._turn
        if self.settings.lease and late > _STUCK:
            return f"the lease has not been looked at for {late:.0f} seconds"
        return ""

    def _not_ready(self) -> str:
        return self._sync_error


def run(settings: ControllerSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises ClusterError, OSError (the port is taken)."""
    client = connect(settings.kubeconfig, settings.context).api_client
    asyncio.run(_main(settings, client))


async def _main(settings: ControllerSettings, client: Any) -> None:
    process = ControllerProcess(settings, client)
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, process.stop)
    await process.run()


__all__ = ["ClusterError", "ControllerProcess", "run"]
