"""The cache gets what the weights leave, and not one block more than can be used."""

from __future__ import annotations

from typing import Any

import pytest

from berth.runtimes.transformers.cache_size import HOST_RESERVE_BYTES, DoesNotFit, cache_blocks

GIB = 2**30


def blocks(**changed: Any) -> int:
    asked: dict[str, Any] = {
        "bytes_per_block": 2**20,
        "block_size": 16,
        "wanted_tokens": 10**9,
        "kv_cache_bytes": None,
        "memory_fraction": 0.75,
        "total": 16 * GIB,
        "free": 8 * GIB,
        "ranks_here": 1,
    }
    return cache_blocks(**(asked | changed))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, 4 * 1024, id="free, but for the fraction that is kept back"),
        pytest.param({"ranks_here": 2}, 2 * 1024, id="two ranks share it"),
        pytest.param({"kv_cache_bytes": GIB}, 1024, id="the operator's own number"),
        pytest.param({"wanted_tokens": 33}, 3, id="no more than can be used"),
        pytest.param(
            {"memory_fraction": 1.0, "free": HOST_RESERVE_BYTES + 5 * 2**20}, 5, id="the reserve"
        ),
    ],
)
def test_blocks_are_what_fits(changed: dict[str, Any], expected: int) -> None:
    assert blocks(**changed) == expected


def test_no_room_for_one_block_is_refused_with_the_numbers() -> None:
    with pytest.raises(DoesNotFit, match=rf"needs {2**20} bytes.*0 are left of {16 * GIB}"):
        blocks(free=GIB)
