"""Prompts of hundreds of different lengths through one engine, in a process of its own; prints what
that takes of memory of its own, after the first hundred (one of each padded size among them) and at
the end, in KiB.

    python tests/engines/native/many_sizes.py FOLDER DTYPE LENGTHS
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch

from berth.kernels.linear import padded_rows
from engines.native.harness import Engine, random_prompt


def own_memory() -> int:
    """KiB of this process's memory that is no file's."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


def main(folder: str, dtype: str, lengths: int) -> None:
    torch.set_num_threads(1)
    engine = Engine(
        Path(folder),
        dtype=getattr(torch, dtype),
        blocks=64,
        max_batch_tokens=1024,
        positions=1024,
        prefix_caching=False,
    )
    shuffled = list(range(1, lengths + 1))
    random.Random(0).shuffle(shuffled)
    # The largest first: then the cache and the widest step are there.
    padded = sorted({padded_rows(rows) for rows in range(1, 1001)} - {1024}, reverse=True)
    sizes = [1000, *padded, *shuffled]
    for size in sizes[:100]:
        engine.run(random_prompt(size, size), max_tokens=1)
    first = own_memory()
    for size in sizes[100:]:
        engine.run(random_prompt(size, size), max_tokens=1)
    sys.stdout.write(f"{first} {own_memory()}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
