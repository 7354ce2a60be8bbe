"""What a model's folder alone says against serving it, asked before anything is started.

Names, lengths and headers, as the engines read them; no torch. What only the tensors tell (Meta's
shapes, the checksums) the engine says when it opens them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import read_json
from berth.checkpoint.folder import load_config
from berth.checkpoint.header_file import forget_headers, read_header
from berth.checkpoint.headers import HeaderError
from berth.checkpoint.index import indexed_in, stored_files
from berth.checkpoint.layout import POINTER, folder_layout, folder_name
from berth.checkpoint.stored import TORCH_NAMES
from berth.checkpoint.text_types import TEXT_TYPES
from berth.images.weight_files import WeightsMissing, whole_safetensors
from berth.models.weights.binding import bind, complaint, is_harmless, refuse_unlike
from berth.models.weights.names import shard_files, tensor_shapes
from berth.models.weights.pth_torn import first_torn
from berth.models.weights.source import WeightError
from berth.protocol.engines import ENGINES, EngineKind


def refuse(folder: Path, kind: EngineKind, degree: int, *, trust: bool = False) -> None:
    """Raise what is wrong with the folder for this engine, or with this number of ranks.

    Args:
        trust: whether Python files of the folder may run.

    Raises:
        ConfigError: its description is missing, malformed or of a model that is not known, it
            cannot be divided so, or only its own code could read it and is not trusted.
        WeightsMissing: as `refuse_weights`; or there are no weights.
    """
    config = None
    if ENGINES[kind].by_description:
        config = load_config(folder)
        config.require_degree(degree)
    elif not trust:
        _refuse_own_code(folder)
    if not refuse_weights(folder, kind, config):
        described, weights = ("config.json", "*.safetensors")
        if folder_layout(folder) == "meta":
            described, weights = ("params.json", "consolidated.00.pth")
        raise WeightsMissing(f"{folder} has {described} and no weights: no {weights} is there")
    forget_headers()  # the server lives long, and asks for them no more


def _refuse_own_code(folder: Path) -> None:
    config = read_json(folder / "config.json")
    if "auto_map" in config and (kind := config.get("model_type")) not in TEXT_TYPES:
        raise ConfigError(
            f"{folder_name(folder)} (model_type {kind!r}) brings its own Python code, which would "
            "run on this machine; read it, and start with --trust-remote-code if you trust it"
        )


def refuse_weights(folder: Path, kind: EngineKind, config: ModelConfig | None = None) -> bool:
    """Raise what is wrong with the files of a folder's weights; False if it has none.

    Args:
        config: what the native engine computes of it, if that was read already.

    Raises:
        ConfigError: its description is refused.
        WeightsMissing: a file is missing, truncated or not the file itself, or a tensor is missing,
            of another shape, or of no use to the model.
    """
    try:
        layout = folder_layout(folder)
        if layout == "hf":
            files = [folder / name for name in stored_files(folder)]
        else:
            files = shard_files(folder) if any(folder.glob("consolidated*")) else []
        for file in files:
            whole(file)
        if files and ENGINES[kind].by_description and layout == "hf":
            _refuse_tensors(folder, config or load_config(folder))
    except WeightError as error:
        raise WeightsMissing(str(error)) from error
    return bool(files)


def whole(file: Path) -> None:
    """Raises WeightsMissing if a file of weights is truncated, or not the file itself."""
    try:
        with file.open("rb") as content:
            begins = content.read(len(POINTER))
    except OSError as error:
        raise WeightsMissing(f"{file} cannot be read: {error.strerror}") from error
    if begins == POINTER:
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


@dataclass(frozen=True, slots=True)
class _Tensor:
    shape: tuple[int, ...]
    dtype: str


def _refuse_tensors(folder: Path, config: ModelConfig) -> None:
    """As the native engine's reader does, by the headers alone. Raises WeightError."""
    stored: dict[str, _Tensor] = {}
    where: dict[str, str] = {}
    indexed = indexed_in(folder)
    for file in stored_files(folder):
        for name, tensor in _header(folder / file).items():
            if name not in where or indexed.get(name) == file:
                stored[name], where[name] = tensor, file
    names = bind(where, config)
    refuse_unlike(config, names, stored, where, tensor_shapes(config), indexed)
    used = set(names.values())
    for name, file in where.items():
        if name not in used and not is_harmless(name) and not _is_zero_bias(folder / file, name):
            raise WeightError(name, file, complaint(name, config))


def _header(file: Path) -> dict[str, _Tensor]:
    try:
        tensors = read_header(file).tensors
    except (OSError, HeaderError) as error:
        raise WeightError("", file.name, str(error)) from error
    return {t.name: _Tensor(t.shape, TORCH_NAMES.get(t.dtype, t.dtype)) for t in tensors}


def _is_zero_bias(file: Path, name: str) -> bool:
    """As `files.is_zero_bias`, without torch: a zero is zero bytes in every number format."""
    if not name.endswith(".bias"):
        return False
    try:
        header = read_header(file)
        tensor = next(one for one in header.tensors if one.name == name)
        with file.open("rb") as content:
            content.seek(header.start + tensor.begin)
            return not any(content.read(tensor.bytes))
    except (OSError, HeaderError) as error:
        raise WeightError(name, file.name, f"it cannot be read: {error}") from error
