"""One start of the engine, from the socket to the last process; and why it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from typing import Protocol

from berth.fit.units import human
from berth.limits.oom import OomCounter
from berth.protocol.begun import Begun
from berth.protocol.config import EngineConfig
from berth.protocol.messages import (
    Fatal,
    FromEngine,
    Heartbeat,
    Loading,
    Ready,
    StepReport,
    Submit,
    ToEngine,
)
from berth.serving.engine_link import RankLink
from berth.serving.last_words import LastWords
from berth.serving.launch import (
    EngineProcess,
    LaunchConfig,
    exit_code_of,
    how_it_ended,
    is_ending,
)
from berth.serving.rank_watch import RankWatch

log = logging.getLogger("berth.serving.supervisor")
engine_log = logging.getLogger("berth.engine")

_STALL = 1.5  # a look this late means that we stood still, not they
_LAST_WORDS = 0.25  # seconds until what an engine said when it ended has arrived
_LINE_SHOWN = 200  # characters of an engine's last line of output, in a reason
# A rank that died without a word makes the others fail in a collective, and they say so. Theirs is
# not the cause: the silent one's connection is seen to close within this time.
_CAUSE_DELAY = 0.05
_REASON_CHARACTERS = 500
_LINE_BYTES = 4096


class EngineEvents(Protocol):
    """Called on the event loop, in this order for each life: ready, steps, down, lost."""

    def engine_ready(self, ready: Ready) -> None: ...
    def engine_step(self, report: StepReport) -> None: ...

    def engine_down(self) -> None:
        """A part of the engine is gone or hangs. What it has said is still told; nothing that is
        sent from now on will be computed.
        """
        ...

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
        self._oom = OomCounter()
        self._begun: Begun | None = None
        self._process: EngineProcess | None = None
        self._memory = ""  # what the engine takes, once it has said so
        self._words = LastWords()
        self._asking: set[asyncio.Task[None]] = set()  # how a lost rank ended
        self.ready = False
        self.down = False

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
                self._memory = (
                    f"the weights take {human(message.weight_bytes)} of a rank's memory, and the "
                    f"KV cache {human(message.kv_bytes)} when it is full"
                )
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
        self._go_down()
        reason = f"rank {message.rank}: {message.reason[:_REASON_CHARACTERS]}"
        final = not message.retry and not self.ready

        def conclude() -> None:
            if not self._asking:  # no rank was lost without a word meanwhile
                self.fail(reason, final=final)

        asyncio.get_running_loop().call_later(_CAUSE_DELAY, conclude)

    def link_lost(self, link: RankLink, reason: str) -> None:
        if link.rank in self._said_why:
            return
        self._go_down()
        task = asyncio.create_task(self._ask_how_it_ended(link, reason))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask_how_it_ended(self, link: RankLink, reason: str) -> None:
        """Its exit code says more than its closed connection, and is there a moment later."""
        code = None
        if link.problem is None and self._process is not None and link.pid is not None:
            if link.pid == self._process.pid:
                with contextlib.suppress(TimeoutError):
                    code = await asyncio.wait_for(self._process.wait(), _LAST_WORDS)
            else:  # torchrun's child
                code = await exit_code_of(link.pid, _LAST_WORDS)
        rank = "a rank" if link.rank is None else f"rank {link.rank}"
        self._ended(f"{rank} (process {link.pid})", code, reason)

    def _ended(self, what: str, code: int | None, reason: str = "") -> None:
        """A process of the engine has ended, with this exit code if it is known."""
        by_kernel = code in (None, -signal.SIGKILL)
        if by_kernel and self._oom.killed():
            limit = self._oom.limit()
            here = "this machine's memory" if limit is None else f"the limit of {human(limit)} here"
            takes = f"; {self._memory}" if self._memory else ""
            reason = (
                f"{what} was killed by the kernel because {here} did not suffice{takes}. A larger "
                "limit helps, or a smaller --kv-cache-memory, --max-num-seqs or --max-model-len"
            )
        elif code is not None:
            reason = f"{what} {how_it_ended(code)}"
            if code == -signal.SIGKILL and self._oom.known:
                reason += ", and not by the kernel because memory ran out"
            if code > 0 and self._words.line:
                reason += f"; its last line was: {self._words.line[:_LINE_SHOWN]}"
        else:
            reason = f"{what} {reason}"
        self.fail(reason)

    def look(self) -> None:
        """Notice ranks that are ending before their connections say so."""
        if any(link.pid and is_ending(link.pid) for link in self._links.values()):
            self._go_down()

    def _go_down(self) -> None:
        if not self.down:
            self.down = True
            self._events.engine_down()

    def fail(self, reason: str, *, final: bool = False) -> None:
        """End this life; the first reason stays."""
        self._go_down()
        if not self._fault.done():
            self._fault.set_result(Fault(reason, final=final))

    # What the supervisor asks.

    def send(self, message: ToEngine) -> None:
        """Send to rank 0 of this node."""
        if isinstance(message, Submit) and self._begun is not None:
            self._begun.clear(message.request_id)
        link = self._links.get(self._ranks.start)
        if link is not None:
            link.send(message)

    def has_begun(self, request_id: int) -> bool:
        """Whether the engine has begun to compute a request that was sent to it."""
        return self._begun is None or self._begun.has(request_id)

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
                stack.callback(server.close)
                stack.callback(Begun.remove, self._config.socket)
                self._begun = Begun.create(self._config.socket)
            except OSError as error:
                return Fault(f"the engine's socket cannot be made: {error}", final=True)
            try:
                process = self._process = await EngineProcess.start(self._launch, self._config)
            except OSError as error:
                return Fault(f"the engine cannot be started: {error.strerror}")
            log.info("engine started as process %d, socket %s", process.pid, self._config.socket)
            tasks = [
                asyncio.create_task(self._log_output(process.output)),
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
                tasks += self._asking
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for link in self._links.values():
                    link.close()

    def _judge(self, rank: int, now: float) -> None:
        if problem := self._watches[rank].fault(now):
            self.fail(f"rank {rank} {problem}")

    async def _await_exit(self, process: EngineProcess) -> None:
        code = await process.wait()
        self._go_down()
        # A rank's own last words (Fatal) say more, and may still lie in its socket.
        await asyncio.sleep(_LAST_WORDS)
        if (failed := self._words.failed) is not None:  # torchrun ended because a rank did
            rank = self._ranks.start + failed.local_rank
            self._ended(f"rank {rank} (process {failed.pid})", failed.code)
        else:
            self._ended("the engine process", code)

    async def _watch(self) -> None:
        """Look when a rank may have been silent for too long, and no sooner: each look costs CPU
        time that a token needs. A rank's own heartbeats show that it makes no progress.
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
            # If this process was stopped, the ranks' messages wait in the socket. If the whole
            # machine was, the ranks have to wake too.
            await asyncio.sleep(self._config.heartbeat_seconds)

    async def _log_output(self, output: asyncio.StreamReader) -> None:
        """Pass the engine's own lines to the log; a progress bar's parts count as lines."""
        line = b""
        while chunk := await output.read(65536):
            *lines, line = (line + chunk).replace(b"\r", b"\n").split(b"\n")
            for each in lines:
                self._log_line(each)
            line = line[-_LINE_BYTES:]
        self._log_line(line)

    def _log_line(self, line: bytes) -> None:
        text = line[:_LINE_BYTES].decode(errors="replace").rstrip()
        if text:
            engine_log.log(logging.INFO if self._words.take(text) else logging.DEBUG, "%s", text)
