"""What a model's folder alone says against serving it, asked before anything is started.

Names, lengths and headers, as the native engine would read them; no torch, and no tensor. What only
the tensors tell (a shape that is another one's) the engine says when it opens them.
"""

from __future__ import annotations

import json
import posixpath
from pathlib import Path

from berth.checkpoint.folder import load_config
from berth.checkpoint.layout import folder_layout
from berth.images.weight_files import WeightsMissing, whole_safetensors
from berth.models.weights.pth_torn import first_torn

_INDEX = "model.safetensors.index.json"
_POINTER = b"version https://git-lfs"


def refuse(folder: Path, degree: int) -> None:
    """Raise what is wrong with the folder, or with this number of ranks for its model.

    Raises:
        ConfigError: its description is missing, malformed or of a model that is not known, or it
            cannot be divided so.
        WeightsMissing: a file of its weights is missing, truncated or not the file itself.
    """
    layout = folder_layout(folder)
    load_config(folder).require_degree(degree)
    for file in _safetensors(folder) if layout == "hf" else _consolidated(folder):
        whole(file)


def _consolidated(folder: Path) -> list[Path]:
    found = sorted(folder.glob("consolidated*"))
    if not found:
        raise WeightsMissing(f"{folder} has params.json and no weights: no consolidated.00.pth")
    return [file for file in found if file.suffix in (".pth", ".safetensors")]


def _safetensors(folder: Path) -> list[Path]:
    here = {file.name: file for file in sorted(folder.glob("*.safetensors"))}
    index = folder / _INDEX
    if index.is_file() and "model.safetensors" not in here:
        try:
            named = set(json.loads(index.read_bytes())["weight_map"].values())
            paths = {posixpath.normpath(name) for name in named}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return list(here.values())  # what is wrong with it, the engine's reader says
        if missing := sorted(name for name in paths if not (folder / name).is_file()):
            raise WeightsMissing(f"{folder} lacks {', '.join(missing)}, which {_INDEX} names")
        return [folder / name for name in sorted(paths)]
    if not here:
        raise WeightsMissing(f"{folder} has config.json and no weights: no *.safetensors is there")
    return [file for name, file in here.items() if not name.startswith("consolidated")]


def whole(file: Path) -> None:
    """Raises WeightsMissing where a file of weights is truncated, or not the file itself."""
    with file.open("rb") as content:
        begins = content.read(len(_POINTER))
    if begins == _POINTER:
        raise WeightsMissing(
            f"{file} is a pointer of git-lfs and not the file itself; run git lfs pull in its clone"
        )
    if not begins:
        raise WeightsMissing(f"{file} is empty")
    if file.suffix == ".safetensors":
        whole_safetensors(file)
    elif (torn := first_torn(file)) is not None:
        where = f"{torn.tensor} in {file}" if torn.tensor else str(file)
        raise WeightsMissing(f"{where}: {torn.reason}")
