"""Hugging Face's layout: config.json beside safetensors files, with or without an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from berth.checkpoint.config import ConfigError, ModelConfig
from berth.checkpoint.fields import read_json
from berth.models.weights.files import Entry, TensorFile, dtype_complaint
from berth.models.weights.names import HEAD, embedding_name
from berth.models.weights.safetensors_file import SafetensorsFile
from berth.models.weights.source import WeightError

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class SafetensorsSource:
    """A Hugging Face folder. `read` gives a view of the mapped file, whatever the slice.

    Where the embedding is tied, lm_head.weight is the embedding, as in transformers, whatever the
    files hold under that name. Of two names for the same bytes some writers keep only the head's:
    the embedding is then found there.
    """

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        """Raises: WeightError for a file that is missing or torn, ConfigError for the index."""
        self.config = config
        self._embedding = embedding_name(config)
        self._files, self._where = open_files(folder, self._embedding)

    @property
    def files(self) -> Sequence[TensorFile]:
        return list(self._files.values())

    @property
    def total_bytes(self) -> int:
        return sum(entry.nbytes for file in self._files.values() for entry in file.entries.values())

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in expected.items():
            file, entry = self._find(name)
            if complaint := dtype_complaint(entry):
                raise WeightError(self._stored(name), file.path.name, complaint)
            if entry.shape != shape:
                raise WeightError(
                    self._stored(name),
                    file.path.name,
                    f"its shape is {entry.shape}, but config.json asks for {shape}",
                )

    def read(
        self, name: str, *, dim: int = 0, start: int = 0, length: int | None = None
    ) -> torch.Tensor:
        file, entry = self._find(name)
        if complaint := dtype_complaint(entry):
            raise WeightError(self._stored(name), file.path.name, complaint)
        view = file.view(self._stored(name))
        return view.narrow(dim, start, view.shape[dim] - start if length is None else length)

    def release(self, name: str) -> None:
        file, _ = self._find(name)
        file.release(self._stored(name))

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _stored(self, name: str) -> str:
        if not self.config.tie_embeddings or name not in (HEAD, self._embedding):
            return name
        alone = HEAD in self._where and self._embedding not in self._where
        return HEAD if alone else self._embedding

    def _find(self, name: str) -> tuple[SafetensorsFile, Entry]:
        stored = self._stored(name)
        where = self._where.get(stored)
        if where is None:
            files = list(self._files)
            many = f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else files[0]
            raise WeightError(stored, many, "is missing")
        entry = self._files[where].entries.get(stored)
        if entry is None:
            raise WeightError(stored, where, f"is missing, though {_INDEX} says it is there")
        return self._files[where], entry


def open_files(folder: Path, expected: str) -> tuple[dict[str, SafetensorsFile], dict[str, str]]:
    """The files of a folder by name, and in which of them each tensor is.

    Args:
        expected: names a tensor that should be there, where no file can say.

    Raises:
        WeightError: a file is missing or torn, or a tensor is there twice.
        ConfigError: the index is none.
    """
    files: dict[str, SafetensorsFile] = {}
    where: dict[str, str] = {}
    if (folder / _INDEX).is_file() and not (folder / _SINGLE).is_file():
        where = _weight_map(folder / _INDEX)
        for name, file in where.items():
            if file not in files:
                files[file] = SafetensorsFile(folder / file, name)
        return files, where
    for path in _unindexed(folder, expected):
        opened = files[path.name] = SafetensorsFile(path, expected)
        for name in opened.entries:
            if name in where:
                reason = f"it is in {where[name]} too; which one is meant?"
                raise WeightError(name, path.name, reason)
            where[name] = path.name
    return files, where


def _weight_map(path: Path) -> dict[str, str]:
    where = read_json(path).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise ConfigError(f"{path.name}: weight_map must be an object of tensors and their files")
    for name, file in where.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise ConfigError(f"{path.name}: weight_map.{name} must be a file in the same folder")
    return where


def _unindexed(folder: Path, expected: str) -> list[Path]:
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    paths = sorted(folder.glob("*.safetensors"))
    paths = [path for path in paths if not path.name.startswith("consolidated")]
    if not paths:
        raise WeightError(expected, _SINGLE, "the file is missing")
    return paths
