"""Where the weights of a preset are on this machine."""

from __future__ import annotations

from pathlib import Path

from berth.images.recipe import Recipe
from berth.images.weight_files import WeightsMissing
from berth.presets.catalogue import Preset
from berth.presets.hub_cache import HubSettings, local_copy
from berth.presets.source import Source


def find_weights(
    preset: Preset, recipe: Recipe, root: Path, named: Path | None, hub: HubSettings | None = None
) -> Path:
    """The folder that was named, else the context's own, else what `berth pull` left.

    Args:
        root: the repository, which is the build's context.
        named: what the owner said, if anything.

    Raises:
        WeightsMissing: they are not here; says how they can be had.
    """
    if named is not None:
        return named
    if recipe.weights is not None and (root / recipe.weights).is_dir():
        return root / recipe.weights
    if preset.hub is not None:
        here = local_copy(Source(preset.hub, revision=preset.revision), hub)
        if here is not None and here.is_dir():
            return here
    raise WeightsMissing(_advice(preset, recipe))


def _advice(preset: Preset, recipe: Recipe) -> str:
    if preset.hub is None:
        how = f"{preset.source}; then name their folder with --weights DIR"
    else:
        licence = ""
        if preset.gated is not False:
            gated = "they are gated" if preset.gated is True else "they may be gated"
            licence = (
                f"{gated}: accept the licence on the hub's page of {preset.hub} and set HF_TOKEN; "
            )
        how = f"{licence}run berth pull {preset.name}, or name their folder with --weights DIR"
    return (
        f"the weights of {preset.name} are not on this machine (neither in {recipe.weights} of "
        f"the repository nor pulled): {how}, or leave them out with --no-weights"
    )
