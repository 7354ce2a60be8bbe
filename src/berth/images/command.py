"""The command lines of the tools: build, push, run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from berth.images.recipe import Recipe
from berth.images.tools import Tool
from berth.presets.image_names import full_name

WEIGHTS_CONTEXT = "weights"  # what the Dockerfiles call weights that lie outside of the context


def build_command(
    tool: Tool,
    recipe: Recipe,
    *,
    weights: Path | None,
    epoch: int | None,
    extra: Sequence[str] = (),
) -> list[str]:
    """What builds the image, to be run in the repository's root.

    Args:
        weights: a folder outside of the context, to be named as one of its own; None: the weights
            are in the Dockerfile's own place for them, or are left out.
        epoch: seconds since 1970 that all files and the image are dated, so that the same inputs
            give the same layers; None: now.
        extra: options of the tool, passed on unchanged.
    """
    command = [tool.name, "build", "--file", recipe.dockerfile, "--tag", _stored_as(tool, recipe)]
    for name, value in recipe.arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    if weights is not None:
        command += ["--build-context", f"{WEIGHTS_CONTEXT}={weights}"]
    if tool.name == "docker":
        command += [] if epoch is None else ["--build-arg", f"SOURCE_DATE_EPOCH={epoch}"]
    else:
        # The OCI format has no HEALTHCHECK; and buildah keeps no layers without --layers.
        command += ["--format", "docker", "--layers"]
        command += [] if epoch is None else ["--timestamp", str(epoch)]
    return [*command, *extra, "."]


def push_command(tool: Tool, recipe: Recipe) -> list[str]:
    """What pushes it to the registry that its tag names."""
    return [tool.name, "push", recipe.tag]


def _stored_as(tool: Tool, recipe: Recipe) -> str:
    """The image's name in the tool's store: the same for all of them, and what a kubelet asks for
    when it is loaded into a cluster."""
    return recipe.tag if tool.name == "docker" else full_name(recipe.tag)


def run_command(tool: Tool, recipe: Recipe) -> list[str]:
    """What starts the image on this machine."""
    gpus = []
    if recipe.variant == "cuda":
        docker = tool.runner == "docker"
        gpus = ["--gpus", "all"] if docker else ["--device", "nvidia.com/gpu=all"]
    pulls = []
    if recipe.weights is None:  # it pulls them at its first start, into a volume that stays
        pulls = ["-v", "berth-cache:/cache", *(["-e", "HF_TOKEN"] if recipe.token else [])]
    model = ["MODEL"] if recipe.name == "base" else []  # which it serves is said when it starts
    return [tool.runner, "run", "--rm", "-p", "5000:5000", *gpus, *pulls, recipe.tag, *model]
