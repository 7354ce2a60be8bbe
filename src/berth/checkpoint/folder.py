"""What a model's folder describes, read once. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.describe import Description, describe_hf, describe_meta
from berth.checkpoint.fields import read_json
from berth.checkpoint.hf import from_hf
from berth.checkpoint.layout import folder_layout
from berth.checkpoint.meta import from_meta
from berth.checkpoint.meta_files import embedding_of
from berth.checkpoint.native import HEAD
from berth.checkpoint.stored import Stored, are_equal, stored_dtype, stored_tensors

# Of Llama 1 and 2, whose params.json leaves it out, if there are no weights to count its rows.
_UNSAID_VOCABULARY = 32_000


def describe(folder: Path) -> Description:
    """What is in `folder`: its layout, its sizes, and what the native engine computes of it.

    Raises:
        ConfigError: it has neither layout, or its configuration is refused.
    """
    if folder_layout(folder) == "meta":
        return describe_meta(load_meta_config(folder))
    tensors = stored_tensors(folder)
    stored = sum(one.end - one.start for one in tensors.values())
    return describe_hf(
        _told_by_files(read_json(folder / "config.json"), tensors),
        generation_of(folder),
        stored_bytes=stored if tensors else None,
        stored_dtype=stored_dtype(tensors),
    )


def load_config(folder: str | Path) -> ModelConfig:
    """What the native engine computes of `folder`, whose weights need not be there.

    Raises:
        ConfigError: the folder has neither layout, or its configuration is refused.
    """
    folder = Path(folder)
    return load_hf_config(folder) if folder_layout(folder) == "hf" else load_meta_config(folder)


def load_meta_config(folder: Path) -> ModelConfig:
    """The model of params.json, with what the heads of its weights tell: vocabulary and dtype.

    Raises:
        ConfigError: params.json is refused.
    """
    params = read_json(folder / "params.json")
    hidden = params.get("dim")
    found = embedding_of(folder, hidden if isinstance(hidden, int) else 0)
    if found is None:
        return from_meta(params, vocab_size=_UNSAID_VOCABULARY)
    return from_meta(params, vocab_size=found[0], dtype=found[1])


def load_hf_config(folder: Path) -> ModelConfig:
    """The model that config.json and generation_config.json, if any, describe."""
    return from_hf(read_hf_json(folder), generation_of(folder))


def generation_of(folder: Path) -> dict[str, Any] | None:
    """The content of generation_config.json; None if there is none. Raises ConfigError."""
    generation = folder / "generation_config.json"
    return read_json(generation) if generation.is_file() else None


def read_hf_json(folder: Path) -> dict[str, Any]:
    """config.json, completed with what only the weights' files tell.

    - Without a dtype (or with "auto"), the one that the files hold, as transformers takes it; else
      float32, its default, would widen bfloat16 weights.
    - tie_word_embeddings is false if an output head of its own lies in the files: transformers 5
      (modeling_utils.py, tie_weights) keeps both if they differ.
    """
    return _told_by_files(read_json(folder / "config.json"), stored_tensors(folder))


def _told_by_files(config: dict[str, Any], tensors: Mapping[str, Stored]) -> dict[str, Any]:
    config = with_dtype(config, stored_dtype(tensors))
    if config.get("tie_word_embeddings") is True and _has_own_head(tensors):
        config = {**config, "tie_word_embeddings": False}
    return config


def with_dtype(config: dict[str, Any], stored: str | None) -> dict[str, Any]:
    """config.json, with the dtype of its weights if it leaves that to them."""
    if stored is None or (config.get("dtype") or config.get("torch_dtype")) not in (None, "auto"):
        return config
    return {**config, "dtype": stored, "torch_dtype": stored}


def _has_own_head(tensors: Mapping[str, Stored]) -> bool:
    head = next((one for name, one in tensors.items() if name.endswith(HEAD)), None)
    embedding = next(
        (one for name, one in tensors.items() if name.endswith(("embed_tokens.weight",
                                                                "word_embeddings.weight"))),
        None,
    )  # fmt: skip
    return head is not None and embedding is not None and not are_equal(head, embedding)
