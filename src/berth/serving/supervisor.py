"""Keeps one engine running: starts it, watches all its local ranks, ends and restarts it.

What this does not do: it knows nothing of requests. Whoever implements EngineEvents keeps those.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Protocol

import msgspec

from berth.protocol.config import EngineConfig
from berth.protocol.messages import (
    Fatal,
    FromEngine,
    Heartbeat,
    Loading,
    Ready,
    Shutdown,
    StepReport,
    ToEngine,
)
from berth.serving.engine_link import RankLink
from berth.serving.launch import EngineProcess, LaunchConfig
from berth.serving.rank_watch import RankWatch

log = logging.getLogger("berth.serving.supervisor")
engine_log = logging.getLogger("berth.engine")

_STALL = 1.5  # a look this late means that we stood still, not they
_LAST_WORDS = 0.25  # seconds until what an engine said when it ended has arrived
# A rank that died without a word makes the others fail in a collective, and they say so. Theirs is
# not the cause: the silent one's connection is seen to close within this time.
_CAUSE_DELAY = 0.05
_REASON_CHARACTERS = 500
_LINE_BYTES = 4096
_REJOIN_PAUSE = 3.0
_EXIT_PATIENCE = 5.0  # seconds for an engine that was asked to end


class EngineEvents(Protocol):
    """Called on the event loop, in this order for each life: ready, steps, lost."""

    def engine_ready(self, ready: Ready) -> None: ...
    def engine_step(self, report: StepReport) -> None: ...

    def engine_lost(self, reason: str, *, was_ready: bool) -> None:
        """All processes of the engine are gone; nothing more will come from it."""
        ...

    def engine_given_up(self, reason: str) -> None:
        """There will be no further start."""
        ...


class Fault(Exception):
    """Why a life of the engine ended. `final`: a fresh start would end the same way."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class EngineLife:
    """One start of the engine, from the socket to the last process."""

    def __init__(self, launch: LaunchConfig, config: EngineConfig, events: EngineEvents) -> None:
        self._launch = launch
        self._config = config
        self._events = events
        self._ranks = launch.local_ranks(config.degree)
        self._links: dict[int, RankLink] = {}
        self._watches: dict[int, RankWatch] = {}
        self._loading: dict[int, Loading] = {}
        self._fault: asyncio.Future[Fault] = asyncio.get_running_loop().create_future()
        self._said_why: set[int] = set()
        self.ready = False

    # What the ranks say.

    def link_message(self, link: RankLink, message: FromEngine) -> None:
        if self._fault.done():
            return
        now = time.monotonic()
        if link.rank is not None and link.rank not in self._links:
            self._connected(link, link.rank, now)
        match message:
            case StepReport():
                if link.rank is not None:
                    self._watches[link.rank].stepped(now)
                self._events.engine_step(message)
                return
            case Heartbeat(rank=rank, work=work, busy=busy):
                if rank in self._watches:
                    self._watches[rank].heartbeat(now, work, busy)
                    self._judge(rank, now)
                self._judge_worker_node()
            case Loading(rank=rank):
                self._loading[rank] = message
                self._judge_worker_node()
            case Ready():
                self._became_ready()
                self._events.engine_ready(message)
            case Fatal():
                self._heard_fatal(message)
        if link.rank in self._watches:
            self._watches[link.rank].heard(now)

    def _connected(self, link: RankLink, rank: int, now: float) -> None:
        if rank not in self._ranks:
            self.fail(f"a process says it is rank {rank}, which does not run on this node")
            return
        self._links[rank] = link
        silence, hang = self._limits()
        self._watches[rank] = RankWatch(
            now,
            period=self._config.heartbeat_seconds,
            silence_timeout=silence,
            hang_timeout=hang,
        )

    def _limits(self) -> tuple[float, float]:
        """How long a rank may be silent, and busy without progress, at present."""
        launch = self._launch
        if self.ready:
            return launch.silence_timeout, launch.hang_timeout
        return launch.load_timeout, launch.load_timeout

    def _became_ready(self) -> None:
        self.ready = True
        silence, hang = self._limits()
        for watch in self._watches.values():
            watch.expect(time.monotonic(), silence_timeout=silence, hang_timeout=hang)

    def _judge_worker_node(self) -> None:
        """No rank of a further node says Ready; the node is when all have loaded and wait."""
        further = self._launch.node_rank > 0
        if further and not self.ready and all(map(self._is_loaded, self._ranks)):
            self._became_ready()

    def _is_loaded(self, rank: int) -> bool:
        loading, watch = self._loading.get(rank), self._watches.get(rank)
        loaded = loading is not None and 0 < loading.total <= loading.done
        return loaded and watch is not None and not watch.busy

    def _heard_fatal(self, message: Fatal) -> None:
        """A rank says why it ends; which may be no more than that another has."""
        self._said_why.add(message.rank)
        reason = f"rank {message.rank}: {message.reason[:_REASON_CHARACTERS]}"
        final = not message.retry and not self.ready
        loop = asyncio.get_running_loop()
        loop.call_later(_CAUSE_DELAY, lambda: self.fail(reason, final=final))

    def link_lost(self, link: RankLink, reason: str) -> None:
        if link.rank in self._said_why:
            return
        who = "a rank" if link.rank is None else f"rank {link.rank}"
        self.fail(f"{who} (process {link.pid}) {reason}")

    def fail(self, reason: str, *, final: bool = False) -> None:
        """End this life; the first reason stays."""
        if not self._fault.done():
            self._fault.set_result(Fault(reason, final=final))

    # What the supervisor asks.

    def send(self, message: ToEngine) -> None:
        """Send to rank 0 of this node."""
        link = self._links.get(self._ranks.start)
        if link is not None:
            link.send(message)

    def pids(self) -> dict[int, int]:
        """Process ids of the connected ranks."""
        return {rank: link.pid for rank, link in self._links.items() if link.pid is not None}

    def load_fraction(self) -> float | None:
        """How much of this node's weights is loaded; None before the first report."""
        total = sum(loading.total for loading in self._loading.values())
        done = sum(loading.done for loading in self._loading.values())
        return done / total if total else None

    def is_connected(self) -> bool:
        return bool(self._links)

    async def run(self) -> Fault:
        """Start the engine, wait until it fails, end all its processes; return why."""
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            try:
                server = await loop.create_unix_server(lambda: RankLink(self), self._config.socket)
            except OSError as error:
                return Fault(f"the engine's socket cannot be made: {error}", final=True)
            stack.callback(server.close)
            try:
                process = await EngineProcess.start(self._launch, self._config)
            except OSError as error:
                return Fault(f"the engine cannot be started: {error.strerror}")
            log.info("engine started as process %d, socket %s", process.pid, self._config.socket)
            tasks = [
                asyncio.create_task(_log_output(process.output)),
                asyncio.create_task(self._await_exit(process)),
                asyncio.create_task(self._watch()),
            ]
            try:
                return await asyncio.shield(self._fault)
            finally:
                self.fail("the supervisor was stopped")
                await process.kill()
                # What the engine said last is often why it ended: the pipe is read to its end.
                await asyncio.wait(tasks[:1], timeout=1.0)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for link in self._links.values():
                    link.close()

    def _judge(self, rank: int, now: float) -> None:
        if problem := self._watches[rank].fault(now):
            self.fail(f"rank {rank} {problem}")

    async def _await_exit(self, process: EngineProcess) -> None:
        reason = await process.wait()
        # A rank's own last words (Fatal) say more, and may still lie in its socket.
        await asyncio.sleep(_LAST_WORDS)
        self.fail(reason)

    async def _watch(self) -> None:
        """Look when somebody may have been silent for too long, and no sooner: each look costs CPU
        that a token wants. Who does not get on is seen by its own heartbeats.
        """
        started = time.monotonic()
        limit = self._launch.connect_timeout
        while not self._fault.done():
            await self._sleep_until_silence(started + limit)
            now = time.monotonic()
            for rank in self._watches:
                self._judge(rank, now)
            if not self._links and self._launch.nnodes == 1 and now - started > limit:
                self.fail(f"no rank of the engine connected within {limit:.0f} s")

    async def _sleep_until_silence(self, connected_by: float) -> None:
        now = time.monotonic()
        # The limits become shorter when the engine is ready: it is not slept for longer than those.
        look = now + self._launch.silence_timeout
        if not self._links and connected_by > now:
            look = min(look, connected_by)
        look = min([look, *(watch.silent_at for watch in self._watches.values())])
        await asyncio.sleep(look - now)
        now = time.monotonic()
        if now - look > _STALL:
            for watch in self._watches.values():
                watch.forgive(now - look)
        if any(watch.silent_at <= now for watch in self._watches.values()):
            # Where we were stopped, what they said meanwhile lies in the socket, and where all of
            # the machine was, they have to wake too.
            await asyncio.sleep(self._config.heartbeat_seconds)


async def _log_output(output: asyncio.StreamReader) -> None:
    """Pass the engine's own lines to the log; a progress bar's parts count as lines."""
    line = b""
    while chunk := await output.read(65536):
        *lines, line = (line + chunk).replace(b"\r", b"\n").split(b"\n")
        for each in lines:
            if each.strip():
                engine_log.info("%s", each[:_LINE_BYTES].decode(errors="replace").rstrip())
        line = line[-_LINE_BYTES:]
    if line.strip():
        engine_log.info("%s", line.decode(errors="replace").rstrip())


class EngineSupervisor:
    """The engine of this node, over all its lives. Use from one event loop."""

    def __init__(self, launch: LaunchConfig, config: EngineConfig, events: EngineEvents) -> None:
        self._launch = launch
        self._config = config
        self._events = events
        self._life: EngineLife | None = None
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
    def state(self) -> str:
        """One of "starting", "loading", "ready", "restarting" and "failed"."""
        if self._failed.is_set():
            return "failed"
        life = self._life
        if life is not None and life.ready:
            return "ready"
        if self._ever_ready:
            return "restarting"
        loading = life is not None and life.load_fraction() is not None
        return "loading" if loading else "starting"

    @property
    def last_reason(self) -> str:
        """Why the last engine ended; empty where none did."""
        return self._reason

    def load_fraction(self) -> float | None:
        return self._life.load_fraction() if self._life is not None else None

    def pids(self) -> dict[int, int]:
        """Process ids of the ranks on this node."""
        return self._life.pids() if self._life is not None else {}

    def send(self, message: ToEngine) -> None:
        """Send to the engine; dropped while there is none (engine_ready says when there is)."""
        if self._life is not None:
            self._life.send(message)

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
            folder = tempfile.mkdtemp(prefix="berth-")  # 0700: nobody else may connect
        except OSError as error:
            self._give_up(f"there is no folder for the engine's socket: {error}")
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
                self._config, socket=str(folder / f"engine-{starts}.sock")
            )
            life = self._life = EngineLife(self._launch, config, self._events)
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
            log.error("engine lost (%d so far): %s", self._deaths, fault)
            self._events.engine_lost(self._reason, was_ready=life.ready)
            # What has run here before may run again, whatever is in its way now: memory that is
            # not free yet, a volume that is away.
            final = fault.final and not self._ever_ready
            if final or failed_starts >= self._launch.max_failed_starts:
                self._give_up(self._reason)
                return
            await self._back_off(short_lives)

    def _give_up(self, reason: str) -> None:
        self._failed.set()
        self._reason = reason
        log.error("the engine is given up: %s", reason)
        self._events.engine_given_up(reason)

    async def _back_off(self, short_lives: int) -> None:
        """Wait 0, 1, 2, 4 … times the first pause, after so many short lives in a row."""
        if self._launch.node_rank > 0:
            # Node 0 notices the loss within about a second and opens a new meeting place. Whoever
            # comes before that joins the old one, and waits there in vain.
            await asyncio.sleep(_REJOIN_PAUSE)
        if short_lives < 2:
            return
        pause = min(self._launch.first_backoff * 2 ** (short_lives - 2), self._launch.max_backoff)
        log.info("next start of the engine in %.1f s", pause)
        await asyncio.sleep(pause)
