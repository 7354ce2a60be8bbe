"""Keeps one engine running: starts it, watches all its local ranks, ends and restarts it.

It knows nothing of requests: the implementation of EngineEvents keeps those.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from berth.protocol.config import EngineConfig
from berth.protocol.messages import Shutdown, ToEngine
from berth.serving.engine_life import EngineEvents, EngineLife
from berth.serving.launch import LaunchConfig
from berth.serving.service import EngineState, Health, State

log = logging.getLogger("berth.serving.supervisor")

_REJOIN_PAUSE = 3.0
_EXIT_PATIENCE = 5.0  # seconds for an engine that was asked to end


class EngineSupervisor:
    """The engine of this node, over all its lives. Use from one event loop."""

    def __init__(self, launch: LaunchConfig, config: EngineConfig, events: EngineEvents) -> None:
        self._launch = launch
        self._config = config
        self._events = events
        self._life: EngineLife | None = None
        self._last_life: EngineLife | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._ever_ready = False
        self._deaths = 0
        self._reason = ""
        self._failed = asyncio.Event()

    @property
    def deaths(self) -> int:
        """How often an engine ended that should not have."""
        return self._deaths

    @property
    def state(self) -> EngineState:
        """One of "starting", "loading", "ready", "restarting" and "failed"."""
        if self._failed.is_set():
            return "failed"
        life = self._life
        if life is not None and life.ready and not life.down:
            return "ready"
        if self._ever_ready or (life is not None and life.ready):
            return "restarting"
        loading = life is not None and life.load_fraction() is not None
        return "loading" if loading else "starting"

    @property
    def last_reason(self) -> str:
        """Why the last engine ended; empty if none did, or that is not known yet."""
        return "" if self._life is not None and self._life.down else self._reason

    def look(self) -> None:
        """Look whether the ranks still run, so that `state` is of this moment."""
        if self._life is not None:
            self._life.look()

    def load_fraction(self) -> float | None:
        return self._life.load_fraction() if self._life is not None else None

    def pids(self) -> dict[int, int]:
        """Process ids of the ranks on this node."""
        return self._life.pids() if self._life is not None else {}

    def send(self, message: ToEngine) -> None:
        """Send to the engine; dropped while there is none (engine_ready says when there is)."""
        if self._life is not None:
            self._life.send(message)

    def has_begun(self, request_id: int) -> bool:
        """Whether the present engine, or while there is none the last, has begun to compute this
        request; true if that cannot be known.
        """
        life = self._life or self._last_life
        return life is None or life.has_begun(request_id)

    def start(self) -> None:
        """Begin to keep an engine running."""
        self._task = asyncio.create_task(self._run(), name="engine supervisor")

    async def given_up(self) -> None:
        """Return when the engine cannot run, and is not started again."""
        await self._failed.wait()

    async def stop(self) -> None:
        """Ask the engine to end, end it for certain, and start none again."""
        self._stopping.set()
        if self._task is None:
            return
        if self._life is not None and self._life.is_connected():
            self._life.send(Shutdown())
            await asyncio.wait([self._task], timeout=_EXIT_PATIENCE)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            folder = tempfile.mkdtemp(prefix="berth-")  # 0700: no other user may connect
        except OSError as error:
            reason = f"there is no folder for the engine's socket: {error}"
            log.error("the engine is given up: %s", reason)
            self._give_up(reason)
            return
        try:
            await self._keep_running(Path(folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _keep_running(self, folder: Path) -> None:
        starts = failed_starts = short_lives = 0
        while not self._stopping.is_set():
            starts += 1
            # Each life has its own socket: a leftover of an earlier one cannot talk to us.
            config = msgspec.structs.replace(
                self._config,
                socket=str(folder / f"engine-{starts}.sock"),
                # What was whole is not read through again: streams wait for the next engine.
                verify="off" if self._ever_ready else self._config.verify,
            )
            life = self._life = self._last_life = EngineLife(self._launch, config, self._events)
            began = time.monotonic()
            fault = await life.run()
            self._life = None
            if self._stopping.is_set():
                break
            self._deaths += 1
            self._reason = str(fault)
            self._ever_ready = self._ever_ready or life.ready
            failed_starts = 0 if life.ready else failed_starts + 1
            lasted = life.ready and time.monotonic() - began > self._launch.stable_after
            short_lives = 1 if lasted else short_lives + 1
            # What has run here before may run again, whatever is in its way now: memory that is
            # not free yet, a volume that is away.
            final = fault.final and not self._ever_ready
            given_up = final or failed_starts >= self._launch.max_failed_starts
            last = "; it is given up" if given_up else ""
            log.error("engine lost (%d so far): %s%s", self._deaths, fault, last)
            self._events.engine_lost(self._reason, was_ready=life.ready)
            if given_up:
                self._give_up(self._reason)
                return
            await self._back_off(short_lives)

    def _give_up(self, reason: str) -> None:
        self._failed.set()
        self._reason = reason
        self._events.engine_given_up(reason)

    async def _back_off(self, short_lives: int) -> None:
        """Wait 0, 1, 2, 4 … times the first pause, after so many short lives in a row."""
        if self._launch.node_rank > 0:
            # Node 0 notices the loss within about a second and opens a new meeting place. A node
            # that comes before that joins the old one, and waits there in vain.
            await asyncio.sleep(_REJOIN_PAUSE)
        if short_lives < 2:
            return
        pause = min(self._launch.first_backoff * 2 ** (short_lives - 2), self._launch.max_backoff)
        log.info("next start of the engine in %.1f s", pause)
        await asyncio.sleep(pause)


def engine_health(supervisor: EngineSupervisor, state: State, detail: str) -> Health:
    """The engine's state, and while it is away, why. `detail` is the state's sentence."""
    if reason := supervisor.last_reason:
        if state in ("starting", "loading"):  # and it has ended before it was ever ready
            ends = supervisor.deaths
            times = "time" if ends == 1 else "times"
            detail = f"{detail[:-1]} again. It ended {ends} {times} before it was ready: {reason}."
        elif state in ("restarting", "failed"):
            detail = f"{detail[:-1]}: {reason}."
    return Health(
        state=state,
        detail=detail,
        ready=state == "ready",
        load_fraction=supervisor.load_fraction(),
        engine_restarts=supervisor.deaths,
    )
