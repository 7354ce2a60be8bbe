"""What `berth fit MODEL --ram X` says of small memories, against a server that has no more."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from limits.real_group import memory_group

MIB = 2**20
CONTEXT = 2048  # the built-in model's
BERTH = [sys.executable, "-m", "berth"]


def fits(mib: int) -> bool:
    done = subprocess.run(
        [*BERTH, "fit", "pocket", "--ram", f"{mib}M", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def post(port: int, path: str, body: object | None, timeout: float) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        content: bytes = answer.read()
        return content


@contextlib.contextmanager
def served(mib: int, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server of the built-in model in a group of that size, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with memory_group(mib * MIB) as group, log.open("wb") as out:
        command = [*BERTH, "serve", "pocket", "--port", str(port), "--device", "cpu"]
        process = subprocess.Popen(group.command(*command), stdout=out, stderr=out)
        try:
            yield process, port
        finally:
            for pid in group.read("cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            process.wait()


def answers(mib: int, log: Path) -> bool:
    """Whether a server in so much memory answers a request of full length, on its first engine."""
    with served(mib, log) as (process, port):
        deadline = time.monotonic() + 90
        while True:
            if process.poll() is not None:
                return False
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(OSError):
                post(port, "/readyz", None, 2)
                break
            time.sleep(0.1)
        prompt = [5 + i % 90 for i in range(CONTEXT - 18)]
        try:
            answer = json.loads(
                post(port, "/v1/completions", {"prompt": prompt, "max_tokens": 16}, 90)
            )
        except urllib.error.HTTPError as error:
            if error.code != 400:  # 400: its context was cut to what has room
                raise
            return False
        assert answer["usage"]["prompt_tokens"] == len(prompt)
    return "engine lost" not in log.read_text()


def test_where_it_says_fits_a_request_of_full_length_is_answered(tmp_path: Path) -> None:
    """And where it refuses, there is no more than 64 MiB above what suffices."""
    sizes = [256, 288, 320, 352, 384, 512, 1024, 2048]
    said = [fits(mib) for mib in sizes]
    assert said == sorted(said), "more memory is never worse"
    assert said[-1]
    first = sizes[said.index(True)]
    for mib in (first, 2048):
        assert answers(mib, tmp_path / f"{mib}.log"), (tmp_path / f"{mib}.log").read_text()
    if first > 256 + 64:
        assert not answers(first - 32 - 64, tmp_path / "less.log"), "fit refuses what has room"
