"""How much memory there is, and how many KV blocks that makes."""

from __future__ import annotations

import os
from pathlib import Path

import torch

# Left to activations, the allocator's slack and whoever else lives on the machine.
HOST_RESERVE_BYTES = 512 * 1024 * 1024


class DoesNotFit(Exception):
    """The weights leave no room for a useful cache. The message has the numbers."""


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


def cache_blocks(
    *,
    bytes_per_block: int,
    block_size: int,
    wanted_tokens: int,
    kv_cache_bytes: int | None,
    memory_fraction: float,
    total: int,
    free: int,
    ranks_here: int,
) -> int:
    """Blocks of the KV cache on one rank, the weights being loaded already. Pure.

    Args:
        bytes_per_block: over all layers.
        wanted_tokens: more than this are never used (all sequences at their longest).
        kv_cache_bytes: the operator's own number, if any.
        memory_fraction: of `total` that weights and caches together may take.
        total, free: bytes of the device now.
        ranks_here: ranks that share this device's memory (CPU; 1 on a GPU of its own).

    Raises:
        DoesNotFit: not even one block.
    """
    wanted = -(-wanted_tokens // block_size)
    if kv_cache_bytes is not None:
        room = kv_cache_bytes
    else:
        kept_back = int(total * (1 - memory_fraction))
        room = max(0, free - max(kept_back, HOST_RESERVE_BYTES)) // ranks_here
    blocks = min(wanted, room // bytes_per_block)
    if blocks < 1:
        raise DoesNotFit(
            f"the KV cache needs {bytes_per_block} bytes for one block of {block_size} tokens, "
            f"and {room} are left of {total} ({free} free before the cache)"
        )
    return blocks


def local_ranks() -> int:
    """Ranks on this machine, as torchrun says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
