"""What the heads of Meta's consolidated files say of their tensors: shapes and dtypes. No torch.

A .pth is a zip archive whose data.pkl names the tensors. It is unpickled with nothing in reach but
the stand-ins below, so no code of the file's choosing can run; a class that torch.save does not use
for tensors is refused.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from berth.checkpoint.header_file import read_header
from berth.checkpoint.headers import HeaderError

SHARD = re.compile(r"consolidated(?:\.(\d+))?\.(pth|safetensors)")
EMBEDDING = "tok_embeddings.weight"
_MOST_PICKLE = 1 << 26  # bytes; the description of any model's tensors is far smaller
_DTYPES = {
    "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "F32": "float32", "F16": "float16", "BF16": "bfloat16",
}  # fmt: skip


def shard_names(folder: Path) -> list[str]:
    """Meta's weight files in `folder`, in order of their numbers."""
    found = [
        (int(match[1] or 0), match[0])
        for path in folder.iterdir()
        if (match := SHARD.fullmatch(path.name))
    ]
    # If the same weights are there twice, the format without pickle.
    suffix = ".safetensors" if any(n.endswith(".safetensors") for _, n in found) else ".pth"
    return [name for _, name in sorted(found) if name.endswith(suffix)]


def embedding_of(folder: Path, hidden: int) -> tuple[int, str] | None:
    """Rows of the whole vocabulary, and the dtype, as the first shard has them.

    None if no shard is there, or its head cannot be read: that is said where it is opened.

    Args:
        hidden: the model's dim. Llama 1 and 2 divide the embedding along it, Llama 3 along the
            vocabulary.
    """
    names = shard_names(folder)
    if not names:
        return None
    try:
        tensors = _tensors(folder / names[0])
    except (OSError, HeaderError, zipfile.BadZipFile, pickle.UnpicklingError, ValueError,
            KeyError, IndexError, TypeError, AttributeError, EOFError):  # fmt: skip
        return None
    if (found := tensors.get(EMBEDDING)) is None or len(found[0]) != 2:
        return None
    (rows, width), dtype = found
    return rows * (len(names) if width == hidden else 1), dtype


def _tensors(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Every tensor's shape and dtype."""
    if path.suffix == ".safetensors":
        tensors = read_header(path).tensors
        return {one.name: (one.shape, _DTYPES.get(one.dtype, one.dtype)) for one in tensors}
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        if archive.getinfo(name).file_size > _MOST_PICKLE:
            raise ValueError(f"{path.name}: its pickle is larger than any model's")
        state = _Restricted(io.BytesIO(archive.read(name))).load()
    return {
        str(key): (value.shape, value.dtype)
        for key, value in state.items()
        if isinstance(value, _Tensor)
    }


class _Tensor:
    """Stands for a tensor: what its pickle says of it."""

    def __init__(self, storage: Any, _offset: int, shape: tuple[int, ...], *_: Any) -> None:
        self.shape = tuple(shape)
        self.dtype = _DTYPES.get(str(storage), str(storage))


def _parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


class _Restricted(pickle.Unpickler):
    """Knows what torch.save writes for a dictionary of tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name.endswith("Storage"):
            return name  # the class is only named
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a dictionary of tensors")

    def persistent_load(self, pid: Any) -> Any:
        return pid[1]  # ("storage", class, key, device, count)
