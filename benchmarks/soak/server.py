"""A real `berth serve` for the soak: started, looked at from outside, and ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.procfs import family, resident_bytes
from berth.cli.http_client import ClientError, Target, send
from berth.cli.load import run_async

START_SECONDS = 300.0
_MODULES = {"berth.engines.native": "engine", "berth.engines.transformers": "engine"}
_SERIES = re.compile(r"^(?P<name>[\w:]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)


class Broken(Exception):
    """The server did what it promises not to; the message says what."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the server, as the kernel shows it."""

    pid: int
    role: str  # server, engine, torchrun, other
    rss: int  # bytes
    files: int  # open descriptors
    threads: int


class Server:
    """A running server, its log, and its processes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.target = Target("http", "127.0.0.1", port)
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 where nothing answers."""

        async def ask() -> tuple[int, str]:
            async with send(self.target, "GET", path) as answer:
                return answer.status, (await answer.read()).decode(errors="replace")

        try:
            return run_async(ask())
        except ClientError as error:
            return 0, str(error)

    def metrics(self) -> dict[str, float]:
        """The series of /metrics by name and labels; the model's name is left out of these."""
        found: dict[str, float] = {}
        for match in _SERIES.finditer(self.get("/metrics")[1]):
            kept = (match["labels"] or "").split(",")
            labels = [x for x in kept if x and not x.startswith(("model_name=", "engine="))]
            name = f"{match['name']}{{{','.join(labels)}}}" if labels else match["name"]
            found[name] = float(match["value"])
        return found

    def processes(self) -> list[Process]:
        """The server first, then everything that it started."""
        found = []
        for pid in sorted(family(self.pid), key=lambda pid: (pid != self.pid, pid)):
            with contextlib.suppress(OSError):
                found.append(_look(pid, "server" if pid == self.pid else _role(pid)))
        return found

    def ranks(self) -> list[int]:
        """Process ids of the engine's ranks."""
        return [process.pid for process in self.processes() if process.role == "engine"]

    def wait_ready(self, seconds: float = START_SECONDS) -> float:
        """Poll until it answers; the seconds that took. Raises Broken."""
        began = time.monotonic()
        while not self.is_ready():
            if self.process.poll() is not None:
                raise Broken(f"the server ended with {self.process.returncode}: {self.tail()}")
            if time.monotonic() - began > seconds:
                raise Broken(f"the server was not ready within {seconds:.0f} s: {self.tail()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def wait_idle(self, seconds: float = 30.0) -> dict[str, float]:
        """Poll until no request and no block is left; the gauges then, or as they stayed."""
        names = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"
        began = time.monotonic()
        while True:
            now = self.metrics()
            gauges = {name: now.get(name, 0.0) for name in names}
            if not any(gauges.values()) or time.monotonic() - began > seconds:
                return gauges
            time.sleep(0.1)

    def end(self, seconds: float = 60.0) -> int:
        """SIGTERM; the exit code. Raises Broken where it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code of a server that was told to end. Raises Broken."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Broken(f"the server did not end within {seconds:.0f} s of SIGTERM") from None

    def tail(self) -> str:
        """The last lines of its log."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])


@contextlib.contextmanager
def serving(
    model: str, options: Sequence[str], log: Path, *, ready: bool = True
) -> Iterator[Server]:
    """Start `berth serve MODEL OPTIONS` on a free port; end it afterwards, whatever happened."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [model] if model else []
    command = [sys.executable, "-m", "berth", "serve", *words, "--port", str(port)]
    environment = {k: v for k, v in os.environ.items() if k != "BERTH_API_KEY"}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    server = Server(process, port, log)
    try:
        if ready:
            server.wait_ready()
        yield server
    finally:
        if process.poll() is None:
            with contextlib.suppress(Broken):
                server.end()
        if process.poll() is None:
            process.kill()
            process.wait()


def gone(pids: Sequence[int], seconds: float) -> float | None:
    """Poll until none of these processes is left; the seconds that took, None: some stayed."""
    began = time.monotonic()
    while any(map(_lives, pids)):
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.01)
    return time.monotonic() - began


def _lives(pid: int) -> bool:
    """Whether it is there, and not only dead and unburied: an orphan's burial is init's affair."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _role(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    if "torch.distributed.run" in words:
        return "torchrun"
    return next((role for module, role in _MODULES.items() if module in words), "other")


def _look(pid: int, role: str) -> Process:
    folder = Path(f"/proc/{pid}")
    return Process(
        pid,
        role,
        resident_bytes(pid),
        len(os.listdir(folder / "fd")),
        len(os.listdir(folder / "task")),
    )
