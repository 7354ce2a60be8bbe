"""Starting the processes of one engine, and ending all of them for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from berth.limits.cpus import cpus
from berth.protocol.config import EngineConfig
from berth.protocol.engines import ENGINES

# Every process of one engine inherits this variable. It is how all of them are found, whatever
# sessions and process groups torchrun gave them and whatever their parent is by now.
_MARK = "BERTH_ENGINE_GROUP"
_PF_EXITING = 4  # of the kernel's flags of a process
_GUARD = str(Path(__file__).with_name("guard.py"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchConfig:
    """How this node's part of the engine is started and watched. Times in seconds."""

    # After the Python interpreter; None: the module of the engine that the configuration names.
    engine_argv: tuple[str, ...] | None = None
    nnodes: int = 1
    node_rank: int = 0
    master_addr: str | None = None  # of node 0; needed with several nodes
    master_port: int | None = None
    connect_timeout: float = 300.0  # for the first rank to connect, on a single node
    # Without a heartbeat, or without progress, before the engine is ready: importing torch, opening
    # a GPU or reading a large tensor from a slow disk may keep a healthy rank that long.
    load_timeout: float = 120.0
    silence_timeout: float = 3.0  # without a heartbeat, once ready
    # Busy without progress. With two heartbeats a second and the time that killing takes, a rank
    # that hangs is gone within 5 s.
    hang_timeout: float = 3.5
    max_failed_starts: int = 5  # in a row that never became ready
    # The first restart is immediate; then the pause doubles, until a life was long enough.
    first_backoff: float = 1.0
    max_backoff: float = 30.0
    stable_after: float = 60.0

    def __post_init__(self) -> None:
        if self.nnodes < 1 or not 0 <= self.node_rank < self.nnodes:
            raise ValueError(
                f"node rank {self.node_rank} should be between 0 and {self.nnodes - 1}"
            )
        if self.nnodes > 1 and (self.master_addr is None or self.master_port is None):
            raise ValueError("several nodes need the address and port of node 0 (master)")

    def local_ranks(self, degree: int) -> range:
        """The ranks that run on this node.

        Raises:
            ValueError: the nodes cannot share the ranks evenly.
        """
        if degree % self.nnodes:
            raise ValueError(f"degree {degree} should be a multiple of {self.nnodes} nodes")
        count = degree // self.nnodes
        return range(self.node_rank * count, (self.node_rank + 1) * count)


def engine_command(launch: LaunchConfig, config: EngineConfig) -> list[str]:
    """The command line of this node's engine: one process, or torchrun with its ranks."""
    argv = launch.engine_argv or ("-m", ENGINES[config.engine].module)
    engine = [*argv, "--config", msgspec.json.encode(config).decode()]
    if config.degree == 1:
        return [sys.executable, *engine]
    address = launch.master_addr or "127.0.0.1"
    return [
        sys.executable,
        *("-m", "torch.distributed.run"),
        *("--nnodes", str(launch.nnodes)),
        *("--node-rank", str(launch.node_rank)),
        *("--nproc-per-node", str(len(launch.local_ranks(config.degree)))),
        *("--rdzv-backend", "static"),
        *("--master-addr", address),
        *("--master-port", str(launch.master_port or _free_port(address))),
        *(("--local-addr", address) if launch.nnodes == 1 else ()),
        *("--max-restarts", "0"),
        *engine,
    ]


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def engine_environment(launch: LaunchConfig, config: EngineConfig) -> dict[str, str]:
    """Our own environment, and what an engine runs better with unless its owner says otherwise."""
    env = dict(os.environ, PYTHONUNBUFFERED="1")
    # Weights in pages of 2 MiB, if the kernel gives them on request: a decode step reads them
    # all, and through half a million pages of 4 KiB that takes 5 % longer.
    env.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    ranks = len(launch.local_ranks(config.degree))
    # What the engine takes for itself, see berth.limits.cpus; told to its libraries before they are
    # imported, for numpy's starts threads then, and torchrun would set 1 and warn.
    threads = config.threads or cpus().threads(ranks)
    env.setdefault("OMP_NUM_THREADS", str(threads))
    # Of the primitives that oneDNN compiles for each row count it and torch each would keep 1,024:
    # half a gigabyte. Compiling one anew takes a third of a millisecond.
    env.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    env.setdefault("LRU_CACHE_CAPACITY", "32")  # torch's
    env.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's; nothing here asks it for a product
    return env


class EngineProcess:
    """The first process of one engine and everything it started."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self._process = process
        self._mark = mark
        self.pid = process.pid

    @classmethod
    async def start(cls, launch: LaunchConfig, config: EngineConfig) -> EngineProcess:
        """Start the engine in a session of its own; its output is one pipe.

        Raises:
            OSError: no process could be started.
        """
        mark = secrets.token_hex(8)
        env = engine_environment(launch, config) | {_MARK: mark}
        # The kernel ends the engine with the server, however that ends. torchrun is asked politely,
        # so that it ends its workers too.
        last_signal = signal.SIGKILL if config.degree == 1 else signal.SIGTERM
        guard = [sys.executable, "-I", "-S", _GUARD, str(os.getpid()), str(int(last_signal))]
        process = await asyncio.create_subprocess_exec(
            *guard,
            *engine_command(launch, config),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(process, mark)

    @property
    def output(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout

    async def wait(self) -> int:
        """Wait for the first process to end; its exit code, negative if a signal ended it."""
        return await self._process.wait()

    async def kill(self) -> None:
        """End all processes of this engine with SIGKILL, and wait until none is left."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await asyncio.to_thread(_kill_marked, self._mark)
        await self._process.wait()


def how_it_ended(code: int) -> str:
    """An exit code as a sentence's end; negative if a signal ended the process."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time one
        name = f"signal {-code}"
    if -code == signal.SIGBUS:
        name += ", as when a file that it reads is cut short or cannot be read any more"
    return f"was killed by {name}"


async def exit_code_of(pid: int, seconds: float) -> int | None:
    """How another process's child ended, while it is dead and not buried; None: not known.

    Args:
        seconds: how long to look, if it still lives.
    """
    deadline = time.monotonic() + seconds
    while True:
        fields = _stat(pid)
        if fields and fields[0] == "Z":
            return os.waitstatus_to_exitcode(int(fields[-1]))
        if not fields or time.monotonic() > deadline:
            return None
        await asyncio.sleep(0.002)


def is_ending(pid: int) -> bool:
    """Whether a process has begun to end, or is gone.

    The kernel first frees its memory, which takes a while if that is much, and only then closes
    its sockets.
    """
    fields = _stat(pid)
    return not fields or fields[0] in "ZX" or bool(int(fields[6]) & _PF_EXITING)


def _stat(pid: int) -> list[str]:
    """The fields of a process after its name, which may hold spaces; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _kill_marked(mark: str, patience: float = 5.0) -> None:
    """Kill every process that carries `mark`, until none does (or `patience` seconds passed).

    Repeated, because one that was just forking may have had a child behind our back.
    """
    deadline = time.monotonic() + patience
    while (pids := _marked(mark)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _marked(mark: str) -> list[int]:
    """Processes with `mark` in their environment. One that is dead but unburied has none."""
    wanted = f"{_MARK}={mark}".encode()
    pids: list[int] = []
    if not os.path.isdir("/proc"):  # not Linux: killing the process group has to do
        return pids
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            environment = Path(entry.path, "environ").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if wanted in environment.split(b"\0"):
            pids.append(int(entry.name))
    return pids
