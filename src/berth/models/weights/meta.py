"""Meta's layout: params.json beside consolidated.NN.pth, each file one rank's shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from berth.checkpoint.fields import read_json
from berth.checkpoint.meta import from_meta
from berth.models.weights.binding import clash, complaint, is_harmless, unwrapped
from berth.models.weights.files import Entry, TensorFile, dtype_complaint, is_zero_bias, scratch
from berth.models.weights.names import (
    EMBEDDING,
    meta_name,
    meta_shard_dim,
    shard_files,
    tensor_shapes,
)
from berth.models.weights.pth_file import PthFile
from berth.models.weights.safetensors_file import SafetensorsFile
from berth.models.weights.source import WeightError


class MetaSource:
    """A folder of Meta's, read as if it were not sharded.

    The number of shards has nothing to do with the degree it is loaded at. `read` gives a view
    if the slice lies in one shard, and a joined copy of just the slice if it does not.
    Errors call a tensor what the file calls it ("layers.0.attention.wq.weight").
    Mistral's consolidated.safetensors, which has the same names, is read too.
    """

    def __init__(self, folder: Path) -> None:
        """Raises: ConfigError for params.json, WeightError for a file that is missing or torn."""
        params = read_json(folder / "params.json")
        self._files: list[TensorFile] = [_open(path) for path in shard_files(folder)]
        self._names = {file.path.name: _plain_names(file) for file in self._files}
        embedding = self._found(self._files[0], EMBEDDING)
        if embedding is None or len(embedding.shape) != 2:
            file = self._files[0].path.name
            raise WeightError("tok_embeddings.weight", file, "is missing or no matrix")
        self._hidden = _whole(params.get("dim"))
        rows, _ = self._full_shape(EMBEDDING)
        self.config = from_meta(params, vocab_size=rows, dtype=embedding.dtype)
        self._refuse_missing_shards()
        # The width of the MLP is computed, not given, in params.json: hold it against the file.
        gate = "model.layers.0.mlp.gate_proj.weight"
        self._check_shapes({gate: tensor_shapes(self.config)[gate]})

    @property
    def files(self) -> Sequence[TensorFile]:
        return self._files

    @property
    def total_bytes(self) -> int:
        return sum(entry.nbytes for file in self._files for entry in file.entries.values())

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        self._check_shapes(expected)
        self._refuse_unused()

    def _check_shapes(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in expected.items():
            dim = self._shard_dim(name)
            first = self._entry(self._files[0], name)
            if dim is not None and shape[dim] % len(self._files):
                why = f"{self._count()} cannot divide its {shape[dim]} rows or columns evenly"
                raise WeightError(_stored(name), self._files[0].path.name, why)
            for file in self._files:
                entry = self._entry(file, name)
                if complaint := dtype_complaint(entry):
                    raise WeightError(_stored(name), file.path.name, complaint)
                wanted = self._shard_shape(shape, dim)
                if entry.shape != wanted:
                    raise WeightError(
                        _stored(name),
                        file.path.name,
                        f"its shape is {entry.shape}, but params.json and "
                        f"{self._count()} ask for {wanted}",
                    )
                if entry.dtype != first.dtype:
                    why = f"its dtype is {entry.dtype}, but {first.dtype} in the first shard"
                    raise WeightError(_stored(name), file.path.name, why)
            if dim is None:
                self._refuse_unequal(name)

    def _refuse_unused(self) -> None:
        """What lies in the files without being computed would change the answers."""
        used = {meta_name(name) for name in tensor_shapes(self.config)}
        for file in self._files:
            for plain, name in self._names[file.path.name].items():
                if plain in used or is_harmless(name) or is_zero_bias(file, name):
                    continue
                raise WeightError(name, file.path.name, complaint(name, self.config, meta=True))

    def read(
        self, name: str, *, dim: int = 0, start: int = 0, length: int | None = None
    ) -> torch.Tensor:
        shard_dim = self._shard_dim(name)
        views = [self._view(file, name) for file in self._files]
        if shard_dim is None:
            return _narrow(views[0], dim, start, length)
        if dim != shard_dim:
            return _join([_narrow(view, dim, start, length) for view in views], shard_dim)
        # The slice runs through some of the shards: take from each what it has of it.
        total = sum(view.shape[dim] for view in views)
        stop = total if length is None else start + length
        if not 0 <= start <= stop <= total:
            raise IndexError(f"{name}: {start} to {stop} along {dim} is outside of {total}")
        parts, offset = [], 0
        for view in views:
            size = view.shape[dim]
            low, high = max(start - offset, 0), min(stop - offset, size)
            if low < high:
                parts.append(view.narrow(dim, low, high - low))
            offset += size
        return _join(parts or [views[0].narrow(dim, 0, 0)], dim)

    def refuse(self, name: str, why: str) -> WeightError:
        return WeightError(str(meta_name(name)), self.files[0].path.name, why)

    def release(self, name: str) -> None:
        for file in self._files:
            if self._found(file, name) is not None:
                file.release(self._name_in(file, name))

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _count(self) -> str:
        return "one file" if len(self._files) == 1 else f"{len(self._files)} files"

    def _entry(self, file: TensorFile, name: str) -> Entry:
        entry = self._found(file, name)
        if entry is None:
            raise WeightError(_stored(name), file.path.name, "is missing")
        return entry

    def _name_in(self, file: TensorFile, name: str) -> str:
        """What a file calls a tensor: Meta's name, and before it what wrappers put there."""
        plain = _stored(name)
        return self._names[file.path.name].get(plain, plain)

    def _found(self, file: TensorFile, name: str) -> Entry | None:
        return file.entries.get(self._name_in(file, name))

    def _view(self, file: TensorFile, name: str) -> torch.Tensor:
        if complaint := dtype_complaint(self._entry(file, name)):
            raise WeightError(_stored(name), file.path.name, complaint)
        return file.view(self._name_in(file, name))

    def _shard_dim(self, name: str) -> int | None:
        if meta_name(name) is None:
            raise WeightError(name, self._files[0].path.name, "Meta's layout has no such tensor")
        if len(self._files) == 1:
            return None
        if name == EMBEDDING:
            # Llama 1 and 2 divide the hidden size between shards, Llama 3 the vocabulary.
            whole_rows = self._entry(self._files[0], name).shape[-1] == self._hidden
            return 0 if whole_rows else 1
        return meta_shard_dim(name)

    def _shard_shape(self, shape: tuple[int, ...], dim: int | None) -> tuple[int, ...]:
        if dim is None:
            return shape
        return (*shape[:dim], shape[dim] // len(self._files), *shape[dim + 1 :])

    def _full_shape(self, name: str) -> tuple[int, ...]:
        """By the first shard; `check` makes sure that the others agree."""
        shape, dim = self._entry(self._files[0], name).shape, self._shard_dim(name)
        if dim is None:
            return shape
        return (*shape[:dim], shape[dim] * len(self._files), *shape[dim + 1 :])

    def _refuse_missing_shards(self) -> None:
        """Numbers that leave no gap can still be too few: the shapes say how many there were."""
        output = "model.layers.0.self_attn.o_proj.weight"
        entry = self._entry(self._files[0], output)
        heads = self.config.num_heads * self.config.head_dim
        if len(entry.shape) != 2 or not entry.shape[1] or heads % entry.shape[1]:
            return  # mis-shaped, which `check` reports
        wanted, found = heads // entry.shape[1], len(self._files)
        query = self._entry(self._files[0], "model.layers.0.self_attn.q_proj.weight")
        if wanted <= found or not query.shape or query.shape[0] * wanted != heads:
            return
        last = self._files[-1].path
        raise WeightError(
            _stored(output),
            f"consolidated.{found:02d}{last.suffix}",
            f"the file is missing: the shapes in {self._files[0].path.name} are those of "
            f"{wanted} shards, and the folder holds {found}",
        )

    def _refuse_unequal(self, name: str) -> None:
        first, *others = self._files
        for file in others:
            # As bytes: a NaN, odd as it is here, equals itself.
            ours, theirs = (self._view(f, name).view(torch.uint8) for f in (first, file))
            if not torch.equal(ours, theirs):
                raise WeightError(
                    _stored(name),
                    file.path.name,
                    f"every shard has the whole of it, but this one's differs from "
                    f"{first.path.name}'s: the files are of different checkpoints",
                )
        self.release(name)


def _plain_names(file: TensorFile) -> dict[str, str]:
    """A file's names by the same names without wrappers. Raises WeightError if two are one."""
    found: dict[str, str] = {}
    for name in file.entries:
        plain = unwrapped(name)
        if plain in found:
            raise clash(name, found[plain], plain, file.path.name)
        found[plain] = name
    return found


def _open(path: Path) -> TensorFile:
    if path.suffix == ".safetensors":
        return SafetensorsFile(path, "tok_embeddings.weight")
    return PthFile(path)


def _stored(name: str) -> str:
    return meta_name(name) or name


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0  # from_meta says what is wrong with it


def _narrow(view: torch.Tensor, dim: int, start: int, length: int | None) -> torch.Tensor:
    return view.narrow(dim, start, view.shape[dim] - start if length is None else length)


def _join(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    if len(parts) == 1:
        return parts[0]
    length = sum(part.shape[dim] for part in parts)
    shape = parts[0].shape
    whole = scratch((*shape[:dim], length, *shape[dim + 1 :]), parts[0].dtype)
    return torch.cat(parts, dim, out=whole)
