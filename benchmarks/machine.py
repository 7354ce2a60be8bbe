"""What the figures were measured on, without names or paths of the machine."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("berth", "torch", "transformers", "tokenizers", "fastapi", "uvicorn", "uvloop")
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd",
                  "sve", "bf16", "i8mm")  # fmt: skip


def describe(device: str) -> dict[str, object]:
    """Processor, cores, memory, system and versions."""
    info = _cpuinfo()
    description: dict[str, object] = {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu_features": [
            flag for flag in _TELLING_FLAGS
            if flag in (info.get("flags") or info.get("Features") or "").split()
        ],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }  # fmt: skip
    if device == "cuda":
        import torch

        properties = torch.cuda.get_device_properties(0)
        description["gpu"] = properties.name
        description["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        description["cuda"] = torch.version.cuda
    return description


def slug(description: dict[str, object]) -> str:
    """A short name for a file: the processor (or GPU) and the number of cores."""
    words = str(description.get("gpu") or description["cpu"])
    words = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*", " ", words.lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {description['cores']} cores").strip("-")


def _cpuinfo() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:  # not Linux
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
