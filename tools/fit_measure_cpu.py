"""Peak memory of the native engine's own processes on CPU, for one shape."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from berth.protocol.config import EngineConfig
from berth.protocol.messages import (
    Fatal,
    FromEngine,
    Heartbeat,
    Loading,
    Ready,
    SamplingParams,
    StepReport,
    Submit,
)
from berth.protocol.wire import FrameReader, decode_from_engine, frame
from berth.serving.launch import LaunchConfig, engine_command, engine_environment

_DEADLINE = 600.0  # seconds that an engine may stay silent
_NEW_TOKENS = 8  # decode steps with every sequence at its longest


def cpu_name() -> str:
    """The processor, as Linux names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "CPU"


def measure(folder: Path, config: dict[str, Any], run: dict[str, Any]) -> int:
    """Run every sequence to its full length. Returns the peak of the rank that took most."""
    _write_model(folder / "model", config)
    with _engine(folder, run) as (received, sockets, pids):
        _wait(received, Ready)
        _serve(received, sockets[0], run)
        return max(_peak(pid) for pid in pids.values())


def _write_model(folder: Path, config: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    from berth.checkpoint.folder import load_config
    from berth.models.weights.names import tensor_shapes

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    dtype = getattr(torch, config["torch_dtype"])
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(shape, generator=generator).mul_(0.02).to(dtype)
        for name, shape in tensor_shapes(load_config(folder)).items()
    }
    save_file(tensors, folder / "model.safetensors")


@contextlib.contextmanager
def _engine(
    folder: Path, run: dict[str, Any]
) -> Iterator[tuple[SimpleQueue[FromEngine], dict[int, socket.socket], dict[int, int]]]:
    """Start the ranks as a server does; yields their messages, sockets and process ids."""
    path = folder / "engine.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(8)
    received: SimpleQueue[FromEngine] = SimpleQueue()
    sockets: dict[int, socket.socket] = {}
    pids: dict[int, int] = {}

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=read, args=(connection,), daemon=True).start()

    def read(connection: socket.socket) -> None:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid = int.from_bytes(credentials[:4], sys.byteorder)
        reader = FrameReader()
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                for body in reader.feed(data):
                    message = decode_from_engine(body)
                    if isinstance(message, Heartbeat):
                        pids[message.rank], sockets[message.rank] = pid, connection
                    else:
                        received.put(message)

    threading.Thread(target=accept, daemon=True).start()
    config = _config(folder, path, run)
    launch = LaunchConfig()
    process = subprocess.Popen(
        engine_command(launch, config),
        env=engine_environment(launch, config),
        start_new_session=True,
    )
    try:
        yield received, sockets, pids
    finally:
        listener.close()
        for pid in (*pids.values(), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _config(folder: Path, path: Path, run: dict[str, Any]) -> EngineConfig:
    return EngineConfig(
        model=str(folder / "model"),
        socket=str(path),
        device="cpu",
        dtype=run["dtype"],
        max_model_len=run["context"],
        max_num_seqs=run["concurrency"],
        max_batch_tokens=run["batch_tokens"],
        prefix_caching=False,
        degree=run["degree"],
    )


def _serve(
    received: SimpleQueue[FromEngine], connection: socket.socket, run: dict[str, Any]
) -> None:
    """As many sequences as may run, each as long as may be, sampled the dearest way."""
    rng = random.Random(0)
    length = run["context"] - _NEW_TOKENS
    for index in range(run["concurrency"]):
        prompt = [rng.randrange(3, run["vocab"]) for _ in range(length)]
        params = SamplingParams(
            max_tokens=_NEW_TOKENS,
            temperature=1.0,
            seed=index,
            presence_penalty=0.1,
            prompt_logprobs=0,  # logits of whole steps
        )
        connection.sendall(frame(Submit(index, prompt, params)))
    left = set(range(run["concurrency"]))
    while left:
        report = _wait(received, StepReport)
        for delta in report.deltas:
            if delta.error is not None:
                raise RuntimeError(f"the engine refused a sequence: {delta.error}")
            if delta.finish_reason is not None:
                left.discard(delta.request_id)


def _wait(received: SimpleQueue[FromEngine], kind: type[Any]) -> Any:
    while True:
        message = received.get(timeout=_DEADLINE)
        if isinstance(message, kind):
            return message
        if isinstance(message, Fatal):
            raise RuntimeError(f"rank {message.rank} of the engine failed: {message.reason}")
        assert isinstance(message, Loading | Ready | StepReport), message


def _peak(pid: int) -> int:
    """Bytes: the most that was resident at one time, by the kernel's own account, but for the pages
    of files that are mapped now: those of the programs, which fit counts once a node.
    """
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    most, files = (int(status[name].split()[0]) for name in ("VmHWM", "RssFile"))
    return (most - files) * 1024
