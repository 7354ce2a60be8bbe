"""What an owner may decide about a key; what is wrong is refused by its field's name."""

from __future__ import annotations

from typing import Any

import pytest

from berth.store.records import MAX_MODELS, NewKey


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " x"}, "name"),
        ({"name": "x\n"}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "key_0123456789abcdef"}, "name"),
        ({"note": "x" * 1001}, "note"),
        ({"note": "a\x1b[2Jb"}, "note"),
        ({"role": "root"}, "role"),
        ({"role": ""}, "role"),
        ({"models": ("",)}, "model"),
        ({"models": ("x" * 201,)}, "model"),
        ({"models": ("x",) * (MAX_MODELS + 1)}, "model"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"requests_per_minute": 1_000_001}, "requests_per_minute"),
        ({"concurrent": -1}, "concurrent"),
        ({"concurrent": 100_001}, "concurrent"),
        ({"dialect": "ollama?"}, "dialect"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} m"):
        NewKey(**{"name": "ci", **values})


def test_what_can_be_is_taken_as_it_is() -> None:
    key = NewKey(
        name="x" * 100, note="y" * 1000, models=("z" * 200,), requests_per_minute=1_000_000
    )
    assert (len(key.name), len(key.note), key.role) == (100, 1000, "user")
