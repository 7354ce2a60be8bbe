"""Which layout a folder has, and the model that it describes.

No torch is imported but for Meta's folders, where the vocabulary has to be counted in the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.fields import read_json
from berth.checkpoint.hf import from_hf, to_hf
from berth.checkpoint.layout import Layout, folder_layout
from berth.checkpoint.meta import from_meta, to_meta
from berth.checkpoint.stored import Stored, are_equal, stored_dtype, stored_tensors
from berth.models.weights.names import HEAD

__all__ = [
    "from_hf",
    "from_meta",
    "load_config",
    "load_hf_config",
    "model_layout",
    "to_hf",
    "to_meta",
]


def model_layout(folder: Path) -> Layout:
    """`folder_layout`. Raises ConfigError."""
    return folder_layout(folder)


def load_config(folder: str | Path) -> ModelConfig:
    """The model in `folder`, whose weights need not be there.

    Raises:
        ConfigError: the folder has neither layout, or its configuration is refused.
        WeightError: Meta's weights are there, but a file is missing, truncated or no checkpoint.
    """
    folder = Path(folder)
    if model_layout(folder) == "hf":
        return load_hf_config(folder)
    if not any(folder.glob("consolidated*")):
        return from_meta(read_json(folder / "params.json"))
    from berth.models.weights.meta import MetaSource

    with closing(MetaSource(folder)) as source:
        return source.config


def load_hf_config(folder: Path) -> ModelConfig:
    """The model that config.json and generation_config.json, if any, describe."""
    return from_hf(read_hf_json(folder), generation_of(folder))


def generation_of(folder: Path) -> dict[str, Any] | None:
    """The content of generation_config.json; None where there is none. Raises ConfigError."""
    generation = folder / "generation_config.json"
    return read_json(generation) if generation.is_file() else None


def read_hf_json(folder: Path) -> dict[str, Any]:
    """config.json, with what only the weights' files tell put in.

    - Without a dtype (or with "auto"), the one that the files hold, as transformers takes it; else
      float32, its default, would widen bfloat16 weights.
    - tie_word_embeddings is false where an output head of its own lies in the files: transformers 5
      (modeling_utils.py, tie_weights) keeps both where they differ.
    """
    config = read_json(folder / "config.json")
    tensors = stored_tensors(folder)
    named = config.get("dtype") or config.get("torch_dtype")
    if named in (None, "auto") and (dtype := stored_dtype(tensors)) is not None:
        config = {**config, "dtype": dtype, "torch_dtype": dtype}
    if config.get("tie_word_embeddings") is True and _has_own_head(tensors):
        config = {**config, "tie_word_embeddings": False}
    return config


def _has_own_head(tensors: Mapping[str, Stored]) -> bool:
    head = next((one for name, one in tensors.items() if name.endswith(HEAD)), None)
    embedding = next(
        (one for name, one in tensors.items() if name.endswith(("embed_tokens.weight",
                                                                "word_embeddings.weight"))),
        None,
    )  # fmt: skip
    return head is not None and embedding is not None and not are_equal(head, embedding)
