"""Real engine processes, and a bare supervisor for them: no restarts, no text, just the socket."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from berth.protocol.config import EngineConfig
from berth.protocol.messages import (
    Delta,
    Fatal,
    FromEngine,
    Heartbeat,
    Ready,
    SamplingParams,
    StepReport,
    Submit,
    ToEngine,
)
from berth.protocol.wire import FrameReader, decode_from_engine, frame

DEADLINE = 120.0


class Supervised:
    """An engine group that has been started; messages of all its ranks come in one queue."""

    def __init__(self, process: subprocess.Popen[bytes], listener: socket.socket) -> None:
        self.process = process
        self.received: queue.Queue[FromEngine] = queue.Queue()
        self.heartbeats: dict[int, Heartbeat] = {}
        self.pids: dict[int, int] = {}
        self.sockets: dict[int, socket.socket] = {}
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid = int.from_bytes(raw[:4], sys.byteorder)
        reader = FrameReader()
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                for body in reader.feed(data):
                    message = decode_from_engine(body)
                    if isinstance(message, Heartbeat):
                        self.heartbeats[message.rank] = message
                        self.pids[message.rank] = pid
                        self.sockets[message.rank] = connection
                    else:
                        self.received.put(message)

    def wait_for(self, kind: type[Any], deadline: float = DEADLINE) -> Any:
        """The next message of this type; others before it are dropped."""
        until = time.monotonic() + deadline
        while True:
            message = self.received.get(timeout=max(0.01, until - time.monotonic()))
            if isinstance(message, kind):
                return message
            assert not isinstance(message, Fatal), message.reason

    def ready(self, ranks: int = 1) -> Ready:
        message = self.wait_for(Ready)
        poll(lambda: len(self.heartbeats) == ranks)
        assert isinstance(message, Ready)
        return message

    def send(self, message: ToEngine) -> None:
        self.sockets[0].sendall(frame(message))

    def generate(self, prompts: list[list[int]], **params: Any) -> list[list[int]]:
        """All prompts at once; greedy unless told otherwise."""
        values = {"temperature": 0.0, "max_tokens": 16} | params
        for index, prompt in enumerate(prompts):
            self.send(Submit(index, prompt, SamplingParams(**values)))
        tokens: list[list[int]] = [[] for _ in prompts]
        left = set(range(len(prompts)))
        while left:
            report = self.wait_for(StepReport)
            for delta in report.deltas:
                assert isinstance(delta, Delta)
                assert delta.error is None, delta.error
                tokens[delta.request_id].extend(delta.tokens)
                if delta.finish_reason:
                    left.discard(delta.request_id)
        return tokens


def poll(condition: Any, deadline: float = DEADLINE) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < until, "the condition never held"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def engine(
    folder: Path,
    tmp_path: Path,
    *,
    degree: int = 1,
    module: str = "berth.engines.native",
    **settings: Any,
) -> Iterator[Supervised]:
    """Start an engine group as the server does: directly, or by torchrun."""
    path = tmp_path / "engine.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(8)
    values = {"dtype": "float32", "threads": 1, "max_model_len": 256} | settings
    config = EngineConfig(model=str(folder), socket=str(path), degree=degree, **values)
    command = [sys.executable, "-m"]
    if degree > 1:
        command += ["torch.distributed.run", "--nproc-per-node", str(degree)]
        command += ["--master-port", str(_free_port()), "--max-restarts", "0", "-m"]
    command += [module, "--config", msgspec.json.encode(config).decode()]
    process = subprocess.Popen(command, start_new_session=True)
    supervised = Supervised(process, listener)
    try:
        yield supervised
    finally:
        listener.close()
        for pid in (*supervised.pids.values(), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
