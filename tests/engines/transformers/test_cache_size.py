"""The cache gets what the weights leave, and not one token more than can be used."""

from __future__ import annotations

from typing import Any

import pytest

from berth.engines.transformers.cache_size import DoesNotFit, cache_tokens

GIB, MIB = 2**30, 2**20


def tokens(**changed: Any) -> int:
    asked: dict[str, Any] = {
        "bytes_per_token": MIB,
        "wanted": 10**9,
        "longest": 100,
        "room": 4 * GIB,
    }
    return cache_tokens(**(asked | changed))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({}, 4096 - 256, id="what is left, but for what a pass takes"),
        pytest.param({"room": 300 * MIB}, 150, id="half of little"),
        pytest.param({"kv_cache_bytes": GIB}, 1024, id="the operator's own number"),
        pytest.param({"wanted": 33}, 33, id="no more than can be used"),
        pytest.param({"shared": True}, (4096 - 256) // 4, id="a quarter where others live"),
        pytest.param({"shared": True, "longest": 3000}, 3000, id="but room for one sequence"),
        pytest.param({"shared": True, "longest": 9000}, 4096 - 256, id="as far as there is room"),
        pytest.param({"shared": True, "kv_cache_bytes": GIB}, 1024, id="an operator's is whole"),
    ],
)
def test_tokens_are_what_fits(changed: dict[str, Any], expected: int) -> None:
    assert tokens(**changed) == expected


@pytest.mark.parametrize("room", [0, MIB])
def test_no_room_for_one_token_is_refused_with_the_numbers(room: int) -> None:
    with pytest.raises(DoesNotFit, match=r"needs 1\.00 MiB for one token, and .* are left"):
        tokens(room=room)
