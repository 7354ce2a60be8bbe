"""What the machine can do at most: `python -m benchmarks.ceilings cpu` prints it as JSON.

A process of its own, so that its threads and memory are gone before anything else is measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

_REPEATS = 6


def main(device: str) -> None:
    """Print bytes read (GPU: copied) per second and bf16 operations per second, best of six."""
    figures = _gpu() if device == "cuda" else _cpu()
    json.dump({**figures, "threads": torch.get_num_threads()}, sys.stdout)


def _best_seconds(work: Callable[[], object], synchronise: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        synchronise()
        best = min(best, time.perf_counter() - start)
    return best


def _cpu() -> dict[str, float]:
    def nothing() -> None: ...

    memory = torch.ones(2**28)  # 1 GiB: no cache holds it
    # Which of them the library computes best differs from machine to machine.
    reads: list[Callable[[], object]] = [
        lambda: torch.dot(memory, memory), memory.sum, memory.amax,
    ]  # fmt: skip
    seconds = min(_best_seconds(read, nothing) for read in reads)
    size = 4096
    a, b = (torch.randn(size, size).bfloat16() for _ in range(2))
    product = _best_seconds(lambda: a @ b, nothing)
    return {"bytes_per_second": memory.nbytes / seconds, "bf16_flops": 2 * size**3 / product}


def _gpu() -> dict[str, float]:
    memory = torch.ones(2**30, device="cuda")
    target = torch.empty_like(memory)
    seconds = _best_seconds(lambda: target.copy_(memory), torch.cuda.synchronize)
    size = 8192
    a, b = (torch.randn(size, size, device="cuda").bfloat16() for _ in range(2))
    product = _best_seconds(lambda: a @ b, torch.cuda.synchronize)
    return {"bytes_per_second": 2 * memory.nbytes / seconds, "bf16_flops": 2 * size**3 / product}


if __name__ == "__main__":
    main(sys.argv[1])
