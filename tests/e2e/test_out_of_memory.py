"""An engine that the kernel kills because memory ran out: said by that name, and replaced."""

from __future__ import annotations

import contextlib
from pathlib import Path

from e2e.berth_server import berth_serve, poll
from e2e.random_model import random_model
from e2e.streams import Stream
from limits.real_group import RealGroup, memory_group

MIB = 2**20


def drop_caches(group: RealGroup) -> None:
    """So that what is in use is what processes have taken, and no files."""
    file, text = ("memory.reclaim", "1T") if group.version == 2 else ("memory.force_empty", "0")
    with contextlib.suppress(OSError):  # as much as could be reclaimed
        (group.folder / file).write_text(text)


def limit(group: RealGroup, more: int | None) -> None:
    """To what is in use now and `more`; None: no limit."""
    now = int(group.read("memory.current" if group.version == 2 else "memory.usage_in_bytes"))
    file, none = ("memory.max", "max") if group.version == 2 else ("memory.limit_in_bytes", "-1")
    (group.folder / file).write_text(none if more is None else str(now + more))


def test_an_engine_that_is_killed_for_memory_says_so_and_is_replaced(
    tmp_path: Path,
) -> None:
    # A token's keys and values take 1 KiB: eight prompts of 3,000 need more than the 4 MiB left.
    shape = {"max_position": 4096, "num_layers": 4, "num_kv_heads": 4}
    folder = random_model(tmp_path / "model", **shape)
    options = ["--threads", "1", "--dtype", "float32", "--kv-cache-memory", "512M"]
    with (
        memory_group(8 * 1024 * MIB) as group,
        berth_serve(tmp_path, str(folder), *options, wait=False) as server,
    ):
        # The engine that it starts is born there.
        (group.folder / "cgroup.procs").write_text(str(server.process.pid))
        poll(server.is_ready, what="readiness")
        drop_caches(group)
        limit(group, 4 * MIB)
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
        limit(group, None)
        for stream in streams:
            stream.join(120)
        assert [stream.failure for stream in streams] == [None] * 8
        assert all(stream.done for stream in streams)
        lost = next(line for line in server.log.splitlines() if "engine lost" in line)
        assert "was killed by the kernel because the limit of" in lost
        assert "MiB here did not suffice; the weights take" in lost
        assert "a smaller --kv-cache-memory" in lost
        poll(server.is_ready, what="readiness again")
