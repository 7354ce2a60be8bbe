"""One build: everything that can be wrong is checked before a tool is started."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from berth.fit.units import human
from berth.images.command import build_command
from berth.images.find_weights import find_weights
from berth.images.recipe import (
    WITHOUT_MODEL,
    Recipe,
    disk_bytes,
    recipe_of,
    recipe_without_model,
)
from berth.images.repository import Repository
from berth.images.staged import staged
from berth.images.tools import Tool, ToolError, takes_contexts
from berth.images.weight_files import WeightFiles, check_weights
from berth.presets.catalogue import Preset, find_preset
from berth.presets.image_names import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What the owner said, apart from the model."""

    weights: Path | None = None
    with_weights: bool = True
    tag: str | None = None
    variant: Variant = "cpu"
    base: str | None = None
    check_disk: bool = True
    extra: tuple[str, ...] = ()  # options of the tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One build."""

    preset: Preset | None  # None: an image without a model
    recipe: Recipe
    repository: Repository
    tool: Tool
    weights: WeightFiles | None  # None: left out
    outside: bool  # the weights are not in the Dockerfile's own place for them
    extra: tuple[str, ...]
    notes: tuple[str, ...]  # what the owner should know before it starts

    @property
    def weights_bytes(self) -> int:
        """Of the files that go into the image."""
        return 0 if self.weights is None else self.weights.total_bytes

    @contextmanager
    def command(self) -> Iterator[list[str]]:
        """What builds it, in the repository's root, while the block runs."""
        if self.weights is None or not self.outside:
            yield self._command(None)
            return
        with staged(self.weights.folder, self.weights.beside) as folder:
            yield self._command(folder.absolute())

    def shown_command(self) -> list[str]:
        """The same for people to read: with the folder itself, links and all."""
        outside = self.weights is not None and self.outside
        return self._command(self.weights.folder.absolute() if outside and self.weights else None)

    def _command(self, weights: Path | None) -> list[str]:
        epoch = self.repository.epoch
        return build_command(self.tool, self.recipe, weights=weights, epoch=epoch, extra=self.extra)


def plan_named(name: str, asked: BuildOptions, repository: Repository, tool: Tool) -> Plan:
    """The image of a preset, or one of WITHOUT_MODEL.

    Raises:
        PresetError: no such preset, or no such Dockerfile.
        NotBuildable, WeightsMissing, ToolError: see `plan_preset`.
    """
    if name not in WITHOUT_MODEL:
        return plan_preset(find_preset(name), asked, repository, tool)
    recipe = recipe_without_model(
        name,
        variant=asked.variant,
        base=asked.base,
        tag=asked.tag,
        revision=repository.revision,
    )
    return _plan(None, recipe, asked, repository, tool, None)


def plan_preset(preset: Preset, asked: BuildOptions, repository: Repository, tool: Tool) -> Plan:
    """The image of a preset.

    Raises:
        PresetError: the repository has no Dockerfile for it.
        NotBuildable: no engine of ours serves it.
        WeightsMissing: they are not here, or not whole.
        ToolError: the disk is too small, or the tool cannot be given the weights.
    """
    recipe = recipe_for(preset, asked, repository)
    weights = None
    if asked.with_weights:
        folder = find_weights(preset, recipe, repository.root, asked.weights)
        weights = check_weights(folder, preset)
    return _plan(preset, recipe, asked, repository, tool, weights)


def recipe_for(preset: Preset, asked: BuildOptions, repository: Repository) -> Recipe:
    """How it is built; the place of its weights does not matter. Raises NotBuildable."""
    return recipe_of(
        preset,
        variant=asked.variant,
        with_weights=asked.with_weights,
        base=asked.base,
        tag=asked.tag,
        revision=repository.revision,
    )


def _plan(
    preset: Preset | None,
    recipe: Recipe,
    asked: BuildOptions,
    repository: Repository,
    tool: Tool,
    weights: WeightFiles | None,
) -> Plan:
    repository.require(recipe.dockerfile)
    outside = weights is not None and not _found_by_dockerfile(weights, recipe, repository)
    if outside and not takes_contexts(tool):
        raise ToolError(
            "this docker has no buildx, which weights outside of the repository need: install "
            f"docker-buildx-plugin, or put the weights into {recipe.weights} of the repository"
        )
    notes = list(tool.notes)
    if asked.check_disk:
        size = 0 if weights is None else weights.total_bytes
        notes += _check_disk(tool, recipe, size)
    return Plan(
        preset=preset,
        recipe=recipe,
        repository=repository,
        tool=tool,
        weights=weights,
        outside=outside,
        extra=asked.extra,
        notes=tuple(notes),
    )


def _found_by_dockerfile(weights: WeightFiles, recipe: Recipe, repository: Repository) -> bool:
    """Whether they lie in the context, in the Dockerfile's own place for them."""
    if weights.folder.absolute() != (repository.root / str(recipe.weights)).absolute():
        return False
    if any(path.is_symlink() for path in (weights.folder, *weights.folder.iterdir())):
        return False  # it would copy the links, and not what they lead to
    return weights.beside is None or weights.beside == repository.root / "llama/tokenizer.model"


def _check_disk(tool: Tool, recipe: Recipe, weights_bytes: int) -> list[str]:
    """A note if its size is not known. Raises ToolError, with the numbers, if it is too small."""
    if tool.store is None:
        return [
            f"{tool.name} does not keep its images in a folder of this machine that can be read, "
            "so whether there is room was not measured"
        ]
    needed, free = disk_bytes(recipe.variant, weights_bytes), shutil.disk_usage(tool.store).free
    if free >= needed:
        return []
    raise ToolError(
        f"building {recipe.tag} takes about {human(needed)} at {tool.store} (weights of "
        f"{human(weights_bytes)}, twice while it is built), and {human(free)} are free; make room "
        f"({tool.name} image prune), or build with --no-weights; --no-disk-check is for a rebuild "
        "whose weights are stored already"
    )
