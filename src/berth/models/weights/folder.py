"""Opening a folder of weights, whichever of the two layouts it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.folder import load_hf_config
from berth.checkpoint.layout import folder_layout
from berth.models.weights.files import TensorFile
from berth.models.weights.hf import SafetensorsSource, open_files
from berth.models.weights.meta import MetaSource
from berth.models.weights.names import embedding_name
from berth.models.weights.source import WeightSource


def open_weights(folder: str | Path) -> WeightSource:
    """The weights in `folder`, mapped and not yet read; `check` them before loading.

    Raises:
        ConfigError: the folder has neither layout, or its configuration is refused.
        WeightError: a file is missing, truncated or holds something else than tensors.
    """
    folder = Path(folder)
    if folder_layout(folder) == "meta":
        return MetaSource(folder)
    return SafetensorsSource(folder, load_hf_config(folder))


def open_weight_files(folder: str | Path) -> Sequence[TensorFile]:
    """The files with tensors of any model, also one that the native engine does not compute.

    Raises: as `open_weights`.
    """
    folder = Path(folder)
    if folder_layout(folder, served=False) == "meta":
        return MetaSource(folder).files
    return list(open_files(folder, expected_tensor(folder))[0].values())


def expected_tensor(folder: Path) -> str:
    """A tensor that a Hugging Face folder should have, to name if no file can say; or empty."""
    try:
        return embedding_name(load_hf_config(folder))
    except ConfigError:  # another architecture than the native engine's
        return ""
