"""An engine that the kernel kills for want of memory: said by that name, and replaced.

Needs a memory cgroup of its own, which root may make where the controller is mounted for writing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.berth_server import berth_serve, poll
from e2e.random_model import random_model
from e2e.streams import Stream

MIB = 2**20


class Cgroup:
    """A memory cgroup that holds one server."""

    def __init__(self, folder: Path, limit: str, usage: str) -> None:
        self.folder = folder
        self._limit = folder / limit
        self._usage = folder / usage

    def add(self, pid: int) -> None:
        (self.folder / "cgroup.procs").write_text(str(pid))

    def limit(self, count: int | None) -> None:
        unlimited = "max" if self._limit.name == "memory.max" else "-1"
        self._limit.write_text(unlimited if count is None else str(count))

    @property
    def usage(self) -> int:
        return int(self._usage.read_text())

    def drop_caches(self) -> None:
        """So that `usage` is what processes have taken, and no files."""
        for name in ("memory.reclaim", "memory.force_empty"):
            with contextlib.suppress(OSError):
                (self.folder / name).write_text(str(1 << 40) if name == "memory.reclaim" else "0")


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    name = f"berth-test-{os.getpid()}"
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    v1 = next((path for _, names, path in own if "memory" in names.split(",")), None)
    if v1 is not None:
        folder = Path("/sys/fs/cgroup/memory" + v1, name)
        files = "memory.limit_in_bytes", "memory.usage_in_bytes"
    else:
        folder, files = Path("/sys/fs/cgroup", name), ("memory.max", "memory.current")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        if not (folder / files[0]).exists():
            pytest.skip(f"the memory controller is not there for {folder}")
        yield Cgroup(folder, *files)
    finally:
        deadline = time.monotonic() + 10
        while True:  # busy until the last process in it is buried
            try:
                folder.rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def test_an_engine_that_is_killed_for_memory_says_so_and_is_replaced(
    tmp_path: Path, cgroup: Cgroup
) -> None:
    # A token's keys and values take 1 KiB: eight prompts of 3,000 need more than the 4 MiB left.
    shape = {"max_position": 4096, "num_layers": 4, "num_kv_heads": 4}
    folder = random_model(tmp_path / "model", **shape)
    options = ["--threads", "1", "--dtype", "float32", "--kv-cache-memory", "512M"]
    with berth_serve(tmp_path, str(folder), *options, wait=False) as server:
        cgroup.add(server.process.pid)  # the engine it starts is born there
        poll(server.is_ready, what="readiness")
        cgroup.drop_caches()
        cgroup.limit(cgroup.usage + 4 * MIB)
        prompt = [5 + i % 90 for i in range(3000)]
        streams = [
            Stream(
                server,
                "/v1/completions",
                {"prompt": [10 + n, *prompt], "max_tokens": 20, "temperature": 0},
            )
            for n in range(8)
        ]
        for stream in streams:
            stream.start()
        poll(lambda: "engine lost" in server.log, what="the kill")
        cgroup.limit(None)
        for stream in streams:
            stream.join(120)
        assert [stream.failure for stream in streams] == [None] * 8
        assert all(stream.done for stream in streams)
        lost = next(line for line in server.log.splitlines() if "engine lost" in line)
        assert "was killed by the kernel because the limit of" in lost
        assert "MiB here did not suffice; the weights take" in lost
        assert "a smaller --kv-cache-memory" in lost
        poll(server.is_ready, what="readiness again")
