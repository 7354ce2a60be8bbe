"""Every model of the catalogue has a Dockerfile, and is asked for with arguments that it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from berth.images.recipe import (
    NotBuildable,
    buildable,
    disk_bytes,
    expected_bytes,
    recipe_of,
)
from berth.presets.catalogue import load_presets
from e2e.berth_server import ROOT

PRESETS = load_presets()
SEED = [f"llama-2-{size}{chat}" for size in ("7b", "13b", "70b") for chat in ("", "-chat")]
# Known to BuildKit and Buildah without being declared.
_PREDEFINED = {"SOURCE_DATE_EPOCH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}


def declared(dockerfile: Path) -> set[str]:
    """The build arguments of a Dockerfile."""
    return set(re.findall(r"^\s*ARG\s+(\w+)", dockerfile.read_text(), re.MULTILINE)) | _PREDEFINED


@pytest.mark.parametrize("name", [preset.name for preset in buildable(PRESETS.values())])
def test_a_preset_has_a_dockerfile_that_takes_its_arguments(name: str) -> None:
    recipe = recipe_of(PRESETS[name], base="debian", revision="0" * 40)
    assert (ROOT / recipe.dockerfile).is_file()
    assert set(recipe.arguments) <= declared(ROOT / recipe.dockerfile)


@pytest.mark.parametrize("name", SEED)
def test_a_model_of_the_seed_is_built_as_its_readme_says(name: str) -> None:
    recipe = recipe_of(PRESETS[name])
    folder = "presets/llama-2-chat" if name.endswith("-chat") else "presets/llama-2"
    assert recipe.dockerfile == f"{folder}/Dockerfile"
    assert recipe.arguments["LLAMA_VERSION"] == name
    assert recipe.arguments["SRC_DIR"] == folder
    assert recipe.weights == f"llama/{name}"


def test_the_generation_of_falcon_that_has_its_architecture_is_built_as_falcon() -> None:
    recipe = recipe_of(PRESETS["falcon-40b"])
    assert (recipe.dockerfile, recipe.weights) == ("presets/falcon/Dockerfile", "falcon/falcon-40b")
    assert recipe.arguments["FALCON_MODEL_NAME"] == "falcon-40b"
    later = recipe_of(PRESETS["falcon3-1b-instruct"])
    assert later.dockerfile == "presets/huggingface/Dockerfile"
    assert later.arguments["MODEL_NAME"] == "falcon3-1b-instruct"


def test_what_no_engine_serves_gets_no_image() -> None:
    name = next(preset.name for preset in PRESETS.values() if preset.engine == "none")
    with pytest.raises(NotBuildable, match=f"no engine serves {name} yet: "):
        recipe_of(PRESETS[name])


def test_the_disk_counts_weights_twice() -> None:
    weights = expected_bytes(PRESETS["llama-2-7b"])
    assert weights == 2 * 6_738_415_616
    assert disk_bytes("cpu", weights) - disk_bytes("cpu", 0) == 2 * weights
    assert disk_bytes("cuda", 0) > disk_bytes("cpu", 0) > 10**9
