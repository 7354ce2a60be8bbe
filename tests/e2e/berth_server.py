"""A real `berth serve` process for end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEADLINE = 120.0


def poll(condition: Callable[[], Any], deadline: float = DEADLINE, what: str = "it") -> Any:
    """Wait until the condition is true; returns its value."""
    until = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < until, f"{what} did not happen within {deadline} s"
        time.sleep(0.02)
    return value


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A running server and its log."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def call(
        self,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 120.0,
    ) -> tuple[int, Any]:
        """(status, parsed JSON or text). POST where there is a body."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"} | (headers or {})
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read())

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.call("/readyz")[0] == 200
        except OSError:
            return False

    def engine_pids(self) -> list[int]:
        """The engine ranks of this server, by a walk through /proc."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self._is_rank(entry):
                    found.append(int(entry.name))
        return sorted(found)

    def _is_rank(self, entry: Path) -> bool:
        words = (entry / "cmdline").read_bytes().split(b"\0")
        modules = {b"berth.engines.native", b"berth.engines.transformers"}
        if not modules & set(words) or b"torch.distributed.run" in words:
            return False
        return self._is_ours(int(entry.name))

    def _is_ours(self, pid: int) -> bool:
        while pid > 1:
            if pid == self.process.pid:
                return True
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            pid = int(stat[1])
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the server and wait for its end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


@contextlib.contextmanager
def berth_serve(
    tmp_path: Path,
    *arguments: str,
    port: int | None = None,
    environment: dict[str, str] | None = None,
    wait: bool = True,
) -> Iterator[Server]:
    """Start `berth serve ARGUMENTS`; wait until it is ready; end it afterwards."""
    port = port or free_port()
    log = tmp_path / f"serve-{port}.log"
    command = [sys.executable, "-m", "berth", "serve", *arguments, "--port", str(port)]
    inherited = {k: v for k, v in os.environ.items() if k != "BERTH_API_KEY"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=inherited | (environment or {}),
            start_new_session=True,
        )
    server = Server(process, port, log)
    try:
        if wait:
            poll(server.is_ready, what="readiness")
        yield server
    finally:
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.stop()
        if process.poll() is None:
            process.kill()
            process.wait()


def code_blocks(text: str) -> list[str]:
    """The bodies of the ``` fences, inline ones too."""
    return [block.strip() for block in re.findall(r"```(?:\w+\n)?(.*?)```", text, re.DOTALL)]


def run_shell(command: str, timeout: float = 120.0) -> str:
    """What a shell command prints. Raises where it fails."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=timeout, check=True
    )
    return done.stdout
