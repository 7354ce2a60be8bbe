"""Which folder `berth serve` serves, and under which name: by name, by folder, or both.

A container image says both through its environment: BERTH_MODEL what its weights are, and
BERTH_WEIGHTS where they lie. Where nothing lies there (an image without weights, nothing mounted)
the model is pulled by its name, and where the command line names another model, the image's
weights are not meant.
"""

from __future__ import annotations

from pathlib import Path

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.layout import folder_layout, path_kind
from berth.models.weights.digests import NAME as DIGESTS
from berth.presets.catalogue import Preset, PresetError, find_preset
from berth.presets.resolve import ResolvedModel, locate, resolve_model


def find_model(model: str | None, weights: str | None) -> ResolvedModel:
    """The model's folder, pulled on first use.

    Args:
        model: a preset, a hub id or a folder; with `weights`, only what they are.
        weights: folder of the weights, where they need not be looked for.

    Raises:
        PresetError, PullError: no such model, or it cannot be had.
        ConfigError: it is a file, or this user may not look.
        ValueError: no engine reads what was found, or nothing was.
    """
    if weights is None:
        return _resolved(model or "pocket")
    folder = Path(weights)
    if not holds_files(folder):
        raise ValueError(
            f"there are no weights in {folder}; put or mount a model's files there"
            + ("" if model else ", or name a MODEL")
        )
    if model is None:
        return ResolvedModel(folder, folder.resolve().name)
    preset, name = _called(model)
    return ResolvedModel(folder, name, preset)


def holds_files(folder: Path) -> bool:
    """Whether there is anything but what images without weights have in their place."""
    try:
        return path_kind(folder) == "folder" and any(
            path.suffix != ".txt" and path.name != DIGESTS for path in folder.iterdir()
        )
    except (ConfigError, OSError):
        return True  # this user may not look: said by what reads the folder


def same_model(name: str, other: str) -> bool:
    """Whether two names are one model's: a preset's, its hub's, or alike in their last part."""
    return bool(name and other) and _called(name)[1].lower() == _called(other)[1].lower()


def _called(model: str) -> tuple[Preset | None, str]:
    """What the catalogue knows of a model whose weights are given, and its name."""
    last = model.rstrip("/").rpartition("/")[2]
    preset = _described(model) or _described(last)
    return preset, last if preset is None else preset.name


def _described(name: str) -> Preset | None:
    """What the catalogue knows of a model whose weights are given; None if it knows nothing."""
    try:
        return locate(name)[0] if "/" in name else find_preset(name)
    except PresetError:
        return None


def _resolved(model: str) -> ResolvedModel:
    here = path_kind(Path(model))
    if here == "file":
        folder_layout(Path(model))  # says what a file is no folder of
    if here is None:
        preset, _ = locate(model)
        if preset is not None and preset.engine == "none":
            raise ValueError(f"no engine serves {preset.name} yet: {preset.reason}")
    resolved = resolve_model(model)
    if not resolved.path.exists():  # of the catalogue's own, which only its image has
        raise ValueError(f"the weights of {resolved.name} are not here: {resolved.path} is missing")
    if not resolved.path.is_dir():
        raise ValueError(f"{resolved.path} is one file; no engine of ours reads GGUF yet")
    return resolved
