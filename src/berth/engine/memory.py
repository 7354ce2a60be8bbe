"""How much memory there is, and for how many ranks."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def device_memory(device: torch.device) -> tuple[int, int]:
    """(total, still free) bytes, as the device reports them; of the cgroup where that is less."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total, free
    total, free = _meminfo()
    limit, used = _cgroup()
    if limit is not None and limit < total:
        return limit, min(free, limit - used)
    return total, free


def _meminfo() -> tuple[int, int]:
    values: dict[str, int] = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    return values["MemTotal"], values["MemAvailable"]


def _cgroup() -> tuple[int | None, int]:
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        try:
            limit = Path(limit_file).read_text().strip()
            used = int(Path(used_file).read_text())
        except OSError:
            continue
        if limit != "max":
            return int(limit), used
    return None, 0


def local_ranks() -> int:
    """Ranks on this machine, as torchrun says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
