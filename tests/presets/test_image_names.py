"""One name for an image, whichever tool builds it and whatever starts it."""

from __future__ import annotations

import pytest

from berth import __version__
from berth.presets.image_names import Variant, full_name, has_registry, image_name


@pytest.mark.parametrize(
    ("variant", "with_weights", "kind"),
    [
        ("cpu", True, ""),
        ("cuda", True, "-cuda"),
        ("cpu", False, "-bare"),
        ("cuda", False, "-cuda-bare"),
    ],
)
def test_each_kind_of_image_has_a_tag_of_its_own(
    variant: Variant, with_weights: bool, kind: str
) -> None:
    assert image_name("m", variant, with_weights=with_weights) == f"m:{__version__}{kind}"


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("llama-2-7b:1", False),
        ("team/llama-2-7b:1", False),
        ("registry.example.com/team/llama-2-7b:1", True),
        ("localhost:5001/llama-2-7b", True),
        ("localhost/llama-2-7b", True),
    ],
)
def test_a_registry_is_told_from_a_team(tag: str, expected: bool) -> None:
    assert has_registry(tag) == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("berth:0.1.0", "docker.io/library/berth:0.1.0"),
        ("team/berth:0.1.0", "docker.io/team/berth:0.1.0"),
        ("registry.example.com/ai/berth:1", "registry.example.com/ai/berth:1"),
        ("localhost/berth:1", "localhost/berth:1"),
        ("localhost:5001/berth", "localhost:5001/berth"),
    ],
)
def test_a_name_without_a_registry_is_whole_as_a_kubelet_reads_it(tag: str, expected: str) -> None:
    assert full_name(tag) == expected
