"""The KV cache takes memory as it is used, and reads as zero before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from berth.kernels.batch import BLOCK, LayerCache

CPU = torch.device("cpu")
MIB = 2**20
HUGE_PAGE = 2 * MIB
DTYPES = [torch.float32, torch.bfloat16]


def resident() -> int:
    """Bytes of this process's own memory that are in RAM."""
    status = Path("/proc/self/status").read_text()
    return next(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:")
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cache_takes_no_memory_until_it_is_written(dtype: torch.dtype) -> None:
    layers, kv_heads, head_dim = 4, 4, 64
    blocks = 512 * MIB // (layers * LayerCache.bytes_per_block(kv_heads, head_dim, dtype))
    before = resident()
    caches = LayerCache.empty(layers, blocks, kv_heads, head_dim, dtype, CPU)
    assert sum(cache.k.nbytes + cache.v.nbytes for cache in caches) == 512 * MIB
    assert resident() - before < 4 * MIB
    for cache in caches:
        assert not cache.k[blocks // 2].any()  # what is only read takes none either
        cache.k[0] = 1.0
        cache.v[0] = 1.0
    assert resident() - before < 2 * layers * HUGE_PAGE + 4 * MIB
    for cache in caches:
        cache.k.fill_(1.0)
        cache.v.fill_(1.0)
    assert 512 * MIB <= resident() - before < 516 * MIB


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_caches_of_the_layers_do_not_overlap(dtype: torch.dtype) -> None:
    caches = LayerCache.empty(3, 5, 2, 6, dtype, CPU)
    parts = [part for cache in caches for part in (cache.k, cache.v)]
    for number, part in enumerate(parts, 1):
        assert not part.any()
        part.fill_(number)
    for number, part in enumerate(parts, 1):
        assert (part == number).all()
    assert caches[0].k.shape == (5, 2, 6, BLOCK)
    assert caches[0].v.shape == (5, 2, BLOCK, 6)
    assert all(part.is_contiguous() for part in parts)
