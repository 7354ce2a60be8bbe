"""A guess at what was meant is near it, or there is none."""

from __future__ import annotations

import pytest

from berth.near import nearest
from berth.presets.catalogue import PresetError, find_preset, load_presets


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("pocke", "pocket"),
        ("Pocket", "pocket"),
        ("llama-2-7b-chatt", "llama-2-7b-chat"),
        ("lama-2-7b-chat", "llama-2-7b-chat"),
        ("qwen3-8", "qwen3-8b"),
        ("zephyr", "zephyr-7b-beta"),  # its beginning, however long the rest is
    ],
)
def test_a_name_that_is_almost_right_leads_to_the_right_one(name: str, first: str) -> None:
    assert nearest(name, load_presets())[0] == first


@pytest.mark.parametrize(
    "name", ["gpt-4o", "claude-3-opus", "my-model", "foo", "bert", "model", "test", "zz", "", "7b"]
)
def test_a_name_that_is_like_none_gets_no_guess(name: str) -> None:
    assert nearest(name, load_presets()) == []
    with pytest.raises(PresetError, match="berth presets lists them all"):
        find_preset(name)


def test_there_are_three_at_most_and_each_once() -> None:
    found = nearest("llama-2", load_presets())
    assert len(found) == len(set(found)) == 3
