"""How much memory there is, and for how many ranks."""

from __future__ import annotations

import os

import torch

from berth.limits.memory import Memory, memory


def device_memory(device: torch.device) -> Memory:
    """As the device reports it; on CPU of the control group where that has less."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Memory(total, free)
    return memory()


def local_ranks() -> int:
    """Ranks on this machine, as torchrun says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
