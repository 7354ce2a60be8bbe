"""One toolbox and one set of images for all tests that build."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import tiny_llama
from images.toolbox import Built, Toolbox, missing


@pytest.fixture(scope="session")
def toolbox() -> Iterator[Toolbox]:
    """The tools and the base images; skips with the reason where they cannot be had.

    BERTH_TEST_IMAGES names a folder that is used again by the next run; otherwise all is removed.
    """
    if reason := missing():
        pytest.skip(reason)
    kept = os.environ.get("BERTH_TEST_IMAGES")
    folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="berth-images-", dir="/var/tmp"))
    made = Toolbox(folder)
    try:
        made.make_bases()
        if reason := made.cannot_run():
            pytest.skip(reason)
        yield made
    finally:
        if not kept:
            made.remove()


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with a tiny Llama 2 in its catalogue, and its weights where builds look."""
    folder = tiny_llama.checkout(tmp_path_factory.mktemp("context"))
    tiny_llama.write_weights(folder / "llama" / tiny_llama.NAME)
    return folder


@pytest.fixture(scope="session")
def pocket(toolbox: Toolbox, context: Path) -> str:
    """Tag of the pocket image."""
    return _built(toolbox.build("presets/pocket/Dockerfile", "pocket", context=context), "pocket")


@pytest.fixture(scope="session")
def llama(toolbox: Toolbox, context: Path) -> str:
    """Tag of the tiny Llama 2's image, built by the seed's command."""
    built = toolbox.build(
        "presets/llama-2-chat/Dockerfile",
        tiny_llama.NAME,
        context=context,
        arguments={"LLAMA_VERSION": tiny_llama.NAME, "SRC_DIR": "presets/llama-2-chat"},
    )
    return _built(built, tiny_llama.NAME)


@pytest.fixture(scope="session")
def controller(toolbox: Toolbox, context: Path) -> str:
    """Tag of the controller's image."""
    built = toolbox.build("docker/controller/Dockerfile", "berth-controller", context=context)
    return _built(built, "berth-controller")


def _built(built: Built, tag: str) -> str:
    assert built.ok, built.output[-3000:]
    return tag
