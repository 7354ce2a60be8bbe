"""Which files of a Hugging Face folder its weights are read from, as transformers chooses them.

If model.safetensors is there, it alone, whatever an index beside it says (transformers 5.23,
modeling_utils.py, _get_resolved_checkpoint_files). Otherwise the files that the index names.
Without an index all of them, which transformers does not do.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_NUMBERED = re.compile(r"(.*-)(\d+)(-of-)(\d+)(\.safetensors)")


def stored_files(folder: Path) -> list[str]:
    """The files with the weights of `folder`, relative to it, in order; none if it has none.

    Raises:
        ConfigError: the index is malformed, names a file outside of the folder or one that is not
            there; or numbered files without an index have a gap.
    """
    names = sorted(path.name for path in folder.iterdir())
    if SINGLE in names:
        return [SINGLE]
    found = own_weights(names)
    if INDEX not in names:
        _refuse_gap(folder, found)
        return found
    where = weight_map(folder)
    named = sorted(set(where.values()))
    # A description alone (config.json and the index) is enough for what reads no weights.
    here = [name for name in named if (folder / name).exists() or (folder / name).is_symlink()]
    if here or found:
        missing = [name for name in named if name not in here]
        if missing:
            tensor = next(tensor for tensor, name in where.items() if name == missing[0])
            raise ConfigError(
                f"{folder} lacks {', '.join(missing)}, which {INDEX} names ({tensor} is in it)"
            )
    return here


def own_weights(names: Sequence[str]) -> list[str]:
    """The safetensors files among `names` that a Hugging Face folder's model may be stored in:
    neither Mistral's second copy (consolidated) nor an adapter's."""
    return [
        name
        for name in names
        if name.endswith(".safetensors") and not name.startswith(("consolidated", "adapter_"))
    ]


def indexed_in(folder: Path) -> dict[str, str]:
    """The index, if it counts; empty if not. Raises ConfigError."""
    if (folder / SINGLE).exists() or not (folder / INDEX).is_file():
        return {}
    return weight_map(folder)


def weight_map(folder: Path) -> dict[str, str]:
    """The index of a folder: each tensor's file, relative to the folder ("./x" is "x").

    Raises:
        ConfigError: it is none, or leads out of the folder.
    """
    return named_files(read_json(folder / INDEX))


def named_files(index: object) -> dict[str, str]:
    """The file of each tensor that the content of an index names. Raises ConfigError."""
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or not where:
        raise ConfigError(f"{INDEX}: weight_map must be an object of tensors and their files")
    return {name: _inside(name, file) for name, file in where.items()}


def _inside(tensor: str, file: object) -> str:
    said = f"{INDEX}: weight_map.{tensor}"
    if not isinstance(file, str) or not file or "\0" in file:
        raise ConfigError(f"{said} must be a file in the folder")
    path = posixpath.normpath(file)
    if posixpath.isabs(path) or path.split("/")[0] == "..":
        raise ConfigError(
            f"{said} is {file!r}, a path outside of the folder; it must be a file in the folder"
        )
    if not path.endswith(".safetensors"):
        raise ConfigError(f"{said} is {file!r}, which is no *.safetensors file")
    return path


def _refuse_gap(folder: Path, found: Sequence[str]) -> None:
    for name in found:
        if (match := _NUMBERED.fullmatch(name)) is None:
            continue
        before, number, of, total, after = match.groups()
        for n in range(1, min(int(total), 10_000) + 1):
            wanted = f"{before}{n:0{len(number)}d}{of}{total}{after}"
            if wanted not in found:
                raise ConfigError(f"{folder} lacks {wanted}, which belongs to {name}")
