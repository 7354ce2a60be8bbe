"""Hugging Face's layout: config.json beside safetensors files, with or without an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.header_file import forget_headers
from berth.checkpoint.index import SINGLE, indexed_in, stored_files
from berth.models.weights.binding import (
    bind,
    complaint,
    dtype_refusal,
    is_harmless,
    missing,
    refuse_unlike,
    stored_name,
)
from berth.models.weights.files import Entry, TensorFile, is_zero_bias
from berth.models.weights.names import embedding_name, stored_tensors, tensor_shapes
from berth.models.weights.safetensors_file import SafetensorsFile
from berth.models.weights.source import WeightError


class SafetensorsSource:
    """A Hugging Face folder. `read` gives a view of the mapped file, whatever the slice.

    Tensors are asked for by the names that transformers gives them, whatever wrapper the files were
    saved from (binding.py). If the embedding is tied, lm_head.weight is the embedding, as in
    transformers, whatever the files hold under that name. Of two names for the same bytes some
    writers keep only the head's: the embedding is then found there.
    """

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        """Raises: WeightError for a file that is missing or torn, or two tensors of which only one
        can be meant; ConfigError for the index."""
        self.config = config
        self._embedding = embedding_name(config)
        self._files, self._where = open_files(folder, self._embedding)
        self._indexed = indexed_in(folder)
        self._names = bind(self._where, config)
        self._tensors = stored_tensors(config, tensor_shapes(config))

    @property
    def files(self) -> Sequence[TensorFile]:
        return list(self._files.values())

    @property
    def total_bytes(self) -> int:
        return sum(entry.nbytes for file in self._files.values() for entry in file.entries.values())

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        entries = {name: self._files[file].entries[name] for name, file in self._where.items()}
        refuse_unlike(self.config, self._names, entries, self._where, expected, self._indexed)
        self._refuse_unused()

    def _refuse_unused(self) -> None:
        """What lies in the files without being computed would change the answers."""
        used = set(self._names.values())
        for name, where in self._where.items():
            file = self._files[where]
            if name not in used and not is_harmless(name) and not is_zero_bias(file, name):
                raise WeightError(name, where, complaint(name, self.config))

    def read(
        self, name: str, *, dim: int = 0, start: int = 0, length: int | None = None
    ) -> torch.Tensor:
        file, entry = self._find(name)
        if wrong := dtype_refusal(entry.dtype, self._tensors.get(name)):
            raise WeightError(self._stored(name), file.path.name, wrong)
        view = file.view(self._stored(name))
        return view.narrow(dim, start, view.shape[dim] - start if length is None else length)

    def refuse(self, name: str, why: str) -> WeightError:
        file, _ = self._find(name)
        return WeightError(self._stored(name), file.path.name, why)

    def release(self, name: str) -> None:
        file, _ = self._find(name)
        file.release(self._stored(name))

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _stored(self, name: str) -> str:
        return stored_name(name, self._names, self.config)

    def _find(self, name: str) -> tuple[SafetensorsFile, Entry]:
        stored = self._stored(name)
        where = self._where.get(stored)
        if where is None:
            raise missing(stored, self._where, self._where, self._indexed, self.config)
        return self._files[where], self._files[where].entries[stored]


def open_files(folder: Path, expected: str) -> tuple[dict[str, SafetensorsFile], dict[str, str]]:
    """The files of a folder by name, and in which of them each tensor is.

    As in transformers, the files count and not the index: a tensor that it leaves out is read, and
    it may name one that is not there. Of two files with one tensor the index says which is meant.

    Args:
        expected: names a tensor that should be there, if no file can say.

    Raises:
        WeightError: a file is missing or torn, or a tensor is there twice.
        ConfigError: the index is none.
    """
    names = stored_files(folder)
    if not names:
        raise WeightError(expected, SINGLE, "the file is missing")
    indexed = indexed_in(folder)
    files: dict[str, SafetensorsFile] = {}
    where: dict[str, str] = {}
    for name in names:
        opened = files[name] = SafetensorsFile(folder / name, expected)
        for tensor in opened.entries:
            if tensor in where and indexed.get(tensor) not in (where[tensor], name):
                raise WeightError(
                    tensor, name, f"it is in {where[tensor]} too; which one is meant?"
                )
            if tensor not in where or indexed.get(tensor) == name:
                where[tensor] = name
    forget_headers()
    return files, where
