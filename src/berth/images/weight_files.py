"""Whether a folder holds a model's weights whole, before a build copies them. Reads no tensor.

Both layouts are known: Hugging Face's (config.json, *.safetensors) and Meta's (params.json,
consolidated.NN.pth). Names, lengths and headers are looked at; the catalogue says how many bytes
there should be. The rest (shapes, dtypes) the server checks when it starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.checkpoint.errors import CheckpointError, ConfigError
from berth.checkpoint.header_file import read_header
from berth.checkpoint.headers import HeaderError
from berth.checkpoint.index import INDEX, own_weights, stored_files
from berth.checkpoint.layout import folder_layout
from berth.checkpoint.numbers import from_config_json
from berth.fit.units import human
from berth.images.recipe import expected_bytes
from berth.models.weights.pth_torn import first_torn
from berth.presets.catalogue import Preset
from berth.presets.hub_files import needed_in
from berth.presets.source import PullError

_META = re.compile(r"consolidated\.(\d+)\.pth")
# Any one of these is a tokeniser that the server reads.
_TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
# Files may be this much smaller than the parameters that the makers state, which are rounded.
_ROUNDING = 0.99


class WeightsMissing(CheckpointError):
    """The weights are not there, or not whole; the message is a sentence that names the file."""


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """A folder of weights that was found whole."""

    folder: Path
    names: tuple[str, ...]  # of the files with tensors, in order
    total_bytes: int  # of the files that serving needs: what goes into the image
    beside: Path | None = None  # the tokeniser, if it is not in the folder


def check_weights(folder: Path, preset: Preset) -> WeightFiles:
    """Find out whether `folder` has every file that serving `preset` needs.

    Raises:
        WeightsMissing: it has not; says which file is missing, truncated or of another model.
    """
    if not folder.is_dir():
        raise WeightsMissing(f"there is no folder {folder} with the weights of {preset.name}")
    present = sorted(path.name for path in folder.iterdir() if path.is_file())
    hf = own_weights(present) or INDEX in present
    meta = any(_META.fullmatch(name) for name in present)
    if "config.json" in present and hf:
        names = _huggingface(folder, preset)
    elif "params.json" in present or meta:
        names = _meta(folder, present, preset)
    else:
        raise WeightsMissing(_neither(folder, present, preset))
    beside = None
    if not any(all(name in present for name in names) for names in _TOKENIZERS):
        # Meta's download has one tokeniser beside the folders of all versions.
        beside = folder.parent / "tokenizer.model"
        if not beside.is_file() or "params.json" not in present:
            raise WeightsMissing(f"{folder} lacks the tokeniser: tokenizer.json or tokenizer.model")
    needed = [folder / name for name in needed_names(folder)] + ([beside] if beside else [])
    total = sum(path.stat().st_size for path in needed)
    return WeightFiles(folder, tuple(names), total, beside)


def needed_names(folder: Path) -> list[str]:
    """The files of `folder`, relative to it, that serving needs. Raises WeightsMissing."""
    try:
        names = [file.path for file in needed_in(folder)]
        if folder_layout(folder, served=False) == "meta":
            return names
        # Which files of several are the model's, the reader of weights decides.
        return [n for n in names if not n.endswith(".safetensors")] + stored_files(folder)
    except PullError as error:
        raise WeightsMissing(f"{folder}: {error}") from error
    except ConfigError as error:
        raise WeightsMissing(str(error)) from error


def _huggingface(folder: Path, preset: Preset) -> list[str]:
    config = _json(folder / "config.json")
    _same_model(folder, config, preset)
    try:
        names = stored_files(folder)
    except ConfigError as error:
        raise WeightsMissing(str(error)) from error
    if not names:
        raise WeightsMissing(f"{folder} has config.json and no weights: no *.safetensors is there")
    for name in names:
        whole_safetensors(folder / name)
    quantised = config.get("quantization_config") is not None
    if not quantised:
        _large_enough(folder, names, preset)
    return names


def _meta(folder: Path, present: Sequence[str], preset: Preset) -> list[str]:
    if "params.json" not in present:
        raise WeightsMissing(f"{folder} lacks params.json, which belongs to consolidated.NN.pth")
    params = _json(folder / "params.json")
    _same_size(folder, "dim", params.get("dim"), preset)
    _same_size(folder, "n_layers", params.get("n_layers"), preset)
    names = sorted(name for name in present if _META.fullmatch(name))
    if missing := _missing_shards(folder, names, preset):
        raise WeightsMissing(
            f"{folder} lacks {', '.join(missing)}; it holds {', '.join(names) or 'no weights'}"
        )
    for name in names:
        if (torn := first_torn(folder / name)) is not None:
            raise WeightsMissing(f"{folder / name}: {torn.reason}")
    _large_enough(folder, names, preset)
    return names


def _missing_shards(folder: Path, names: Sequence[str], preset: Preset) -> list[str]:
    """Meta's files are equally large: one of them and the whole say how many there should be."""
    numbers = [int(match[1]) for name in names if (match := _META.fullmatch(name))]
    count = max(numbers, default=0) + 1
    expected = expected_bytes(preset)
    if names and expected is not None:
        largest = max((folder / name).stat().st_size for name in names)
        count = max(count, round(expected / largest)) if largest else count
    return [f"consolidated.{n:02d}.pth" for n in range(count) if n not in numbers]


def _large_enough(folder: Path, names: Sequence[str], preset: Preset) -> None:
    expected = expected_bytes(preset)
    if expected is None:
        return
    stored = sum((folder / name).stat().st_size for name in names)
    if stored < expected * _ROUNDING:
        raise WeightsMissing(
            f"the weights in {folder} are {human(stored)}, and those of {preset.name} are "
            f"{human(expected)}: a part is missing, or they are another model's"
        )


def whole_safetensors(file: Path) -> None:
    """Raises WeightsMissing if the file has no header, or not just what that promises."""
    try:
        read_header(file).require_whole()
    except HeaderError as error:
        where = f"{error.tensor} in {file}" if error.tensor else str(file)
        raise WeightsMissing(f"{where}: {error.reason}") from error


def _same_model(folder: Path, config: Mapping[str, Any], preset: Preset) -> None:
    """Refuse weights of a model with another shape than the preset's."""
    wanted = preset.numbers
    if wanted is None:
        return
    try:
        found = from_config_json(config)
    except ConfigError as error:
        raise WeightsMissing(f"{folder / 'config.json'}: {error}") from error
    for what, ours, theirs in (
        ("architecture", wanted.architecture, found.architecture),
        ("hidden_size", wanted.hidden, found.hidden),
        ("layers", len(wanted.layers), len(found.layers)),
    ):
        if ours != theirs:
            raise WeightsMissing(_another(folder, "config.json", what, theirs, ours, preset))


def _same_size(folder: Path, key: str, found: object, preset: Preset) -> None:
    numbers = preset.numbers
    if numbers is None:
        return
    wanted = numbers.hidden if key == "dim" else len(numbers.layers)
    if found != wanted:
        raise WeightsMissing(_another(folder, "params.json", key, found, wanted, preset))


def _another(
    folder: Path, file: str, key: str, found: object, wanted: object, preset: Preset
) -> str:
    return (
        f"the weights in {folder} are another model's: {file} has {key} {found}, and "
        f"{preset.name} has {wanted}"
    )


def _json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsMissing(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsMissing(f"{file} should hold a JSON object")
    return content


def _neither(folder: Path, present: Sequence[str], preset: Preset) -> str:
    held = ", ".join(present[:12]) or "no files"
    return (
        f"{folder} does not hold the weights of {preset.name}: it needs config.json and "
        "*.safetensors (Hugging Face's layout) or params.json and consolidated.NN.pth (Meta's), "
        f"and holds {held}"
    )
