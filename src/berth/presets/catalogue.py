"""The catalogue: one folder per family under presets/, each with a preset.yaml.

family: pocket
presets:
  - name: pocket
    title: Pocket, the built-in model
    architecture: llama
    weights: weights        # a folder beside the file; absent where they come from elsewhere
    template: llama-2
    context: 512
    licence: Apache-2.0
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_KEYS = {"name", "title", "architecture", "weights", "template", "context", "licence"}
_REQUIRED = _KEYS - {"weights", "template"}


class PresetError(Exception):
    """No such preset, or a preset.yaml that cannot be used; the message is a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One model of the catalogue."""

    name: str
    family: str
    title: str
    architecture: str
    context: int  # tokens
    licence: str
    template: str | None = None  # chat template; None: the weights' own
    weights: Path | None = None  # where they are; None: not part of the catalogue


def presets_folder() -> Path:
    """Where the catalogue is: BERTH_PRESETS, else the checkout that this package runs from.

    Raises:
        PresetError: there is none.
    """
    named = os.environ.get("BERTH_PRESETS")
    folder = Path(named) if named else Path(__file__).parents[3] / "presets"
    if not folder.is_dir():
        raise PresetError(
            f"there is no catalogue of presets at {folder}; set BERTH_PRESETS to its folder"
        )
    return folder


def load_presets(folder: Path | None = None) -> dict[str, Preset]:
    """Every preset by its name.

    Raises:
        PresetError: a file is malformed, or two presets share a name; names the file.
    """
    presets: dict[str, Preset] = {}
    for file in sorted((folder or presets_folder()).glob("*/preset.yaml")):
        for preset in _read(file):
            if preset.name in presets:
                raise PresetError(f"{file}: there is a preset {preset.name!r} already")
            presets[preset.name] = preset
    return presets


def find_preset(name: str, folder: Path | None = None) -> Preset:
    """The preset of this name. Raises PresetError, which names the nearest ones."""
    presets = load_presets(folder)
    if name in presets:
        return presets[name]
    near = difflib.get_close_matches(name, presets, n=3, cutoff=0.3) or sorted(presets)
    raise PresetError(f"there is no preset {name!r}; did you mean {', '.join(near)}?")


def _read(file: Path) -> list[Preset]:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise PresetError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict) or set(content) != {"family", "presets"}:
        raise PresetError(f"{file} should have the keys family and presets, and no others")
    return [_preset(file, content["family"], entry) for entry in content["presets"]]


def _preset(file: Path, family: Any, entry: Any) -> Preset:
    if not isinstance(entry, dict):
        raise PresetError(f"{file}: a preset should be a mapping")
    name = entry.get("name", "?")
    if missing := sorted(_REQUIRED - set(entry)):
        raise PresetError(f"{file}: preset {name} lacks {', '.join(missing)}")
    if unknown := sorted(set(entry) - _KEYS):
        raise PresetError(f"{file}: preset {name} has unknown keys {', '.join(unknown)}")
    for key in _KEYS & set(entry):
        wanted = int if key == "context" else str
        if not isinstance(entry[key], wanted):
            raise PresetError(f"{file}: {key} of preset {name} should be {wanted.__name__}")
    weights = entry.get("weights")
    return Preset(
        family=str(family),
        **{key: value for key, value in entry.items() if key != "weights"},
        weights=None if weights is None else file.parent / weights,
    )
