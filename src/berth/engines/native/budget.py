"""The native engine's part of `fit`: the same arithmetic as `berth fit`, for the device it sees."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.numbers import numbers_of
from berth.engines.host.device import device_memory, local_ranks
from berth.fit.budget import EngineBudget, engine_budget
from berth.models.parallel import Group
from berth.protocol.config import EngineConfig


def rank_budget(
    config: EngineConfig,
    numbers: ModelConfig,
    group: Group,
    dtype: torch.dtype,
    positions: int,
    *,
    loaded_bytes: int = 0,
) -> EngineBudget:
    """What this rank will allocate. Asked before loading, to refuse early, and again after it.

    Args:
        positions: the longest sequence wanted, in tokens.
        loaded_bytes: this rank's weights, if they are in memory already.

    Raises:
        CannotFit: not one block of the KV cache has room; its lines have the terms.
    """
    on_cpu = group.device.type == "cpu"
    memory = device_memory(group.device)
    return engine_budget(
        numbers_of(numbers),
        kind="cpu" if on_cpu else "gpu",
        device_total_bytes=memory.total,
        device_free_bytes=memory.free,
        degree=group.degree,
        dtype=str(dtype).removeprefix("torch."),
        max_model_len=positions,
        max_num_seqs=config.max_num_seqs,
        max_batch_tokens=config.max_batch_tokens,
        memory_fraction=config.memory_fraction,
        shared=on_cpu and not memory.limited,
        ranks_here=local_ranks() if on_cpu else 1,
        loaded_bytes=loaded_bytes,
        kv_cache_bytes=config.kv_cache_bytes,
        device=str(group.device),
    )


class MemoryMeter:
    """How much memory this rank has taken since the meter was made, at its most.

    On a GPU what torch has reserved there; on CPU the process's resident memory, in which a block
    of the cache counts only once it has been used.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        self._before = self.peak()

    def peak(self) -> int:
        """Bytes."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_reserved(self._device) - self._before
        status = Path(f"/proc/{os.getpid()}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 - self._before
