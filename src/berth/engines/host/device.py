"""Where the engine runs: its device and the device's memory, its number format, its threads."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from berth.limits.cpus import cpus
from berth.limits.memory import Memory, memory
from berth.protocol.config import Device, Dtype

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(wanted: Device) -> torch.device:
    """This rank's device. Raises ValueError if a GPU is wanted and none is there."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device is cuda, but no CUDA GPU is available; try --device cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"rank {local_rank} of this node needs a GPU of its own, and the node has "
            f"{torch.cuda.device_count()}"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def device_memory(device: torch.device) -> Memory:
    """As the device reports it; on CPU the control group's, if that is less."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Memory(total, free)
    return memory()


def local_ranks() -> int:
    """Ranks on this machine, as torchrun says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def choose_dtype(wanted: Dtype, stored: str, device: torch.device) -> torch.dtype:
    """The element type of weights, activations and cache.

    "auto" keeps what is stored if the device computes it well. On a CPU with instructions for
    bfloat16 it is bfloat16, for float16 weights too; on other CPUs it is float32.
    """
    if wanted != "auto":
        return _DTYPES[wanted]
    if stored == "float32":
        return torch.float32
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32
    return _DTYPES.get(stored, torch.bfloat16)


def _cpu_has_bfloat16() -> bool:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in info for flag in ("amx_bf16", "avx512_bf16", " bf16"))


def use_threads(wanted: int | None, ranks_here: int) -> None:
    """Compute with as many CPU threads as are wanted, else as this process's limits make best for
    each of the node's ranks; the log says how many and why.
    """
    if wanted is None:
        found = cpus()
        count, why = found.threads(ranks_here), found.explain(ranks_here)
    else:
        count, why = wanted, "as --threads says"
    torch.set_num_threads(count)
    log.info("%d CPU thread%s: %s", count, "" if count == 1 else "s", why)
