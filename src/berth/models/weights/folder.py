"""Opening a folder of weights, whichever of the two layouts it has."""

from __future__ import annotations

from pathlib import Path

from berth.models.config_files import load_hf_config, model_layout
from berth.models.weights.hf import SafetensorsSource
from berth.models.weights.meta import MetaSource
from berth.models.weights.source import WeightSource


def open_weights(folder: str | Path) -> WeightSource:
    """The weights in `folder`, mapped and not yet read; `check` them before loading.

    Raises:
        ConfigError: the folder has neither layout, or its configuration is refused.
        WeightError: a file is missing, truncated or holds something else than tensors.
    """
    folder = Path(folder)
    if model_layout(folder) == "meta":
        return MetaSource(folder)
    return SafetensorsSource(folder, load_hf_config(folder))
