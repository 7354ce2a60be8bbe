"""One architecture: what its config.json says, and how the native engine computes it, if it does.

Each file in `architectures` lists its own in ARCHITECTURES; to add one is to add a file there
(and a module in `berth.models`, if the native engine is to compute it in a way of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from berth.checkpoint.config import ModelConfig
from berth.checkpoint.fields import Fields
from berth.checkpoint.layers import ModelNumbers

Sizes = Callable[[str, Fields], ModelNumbers]  # of a class by its name in config.json
# Sizes, config.json and generation_config.json to what the native engine computes. Raises
# ConfigError for what it does not compute.
NativeConfig = Callable[[ModelNumbers, Fields, Mapping[str, Any] | None], ModelConfig]
TensorShapes = Callable[[ModelConfig], dict[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """How the native engine computes an architecture."""

    name: str  # the engine's own: "llama"
    module: str  # of berth.models; its MODEL is the class
    config: NativeConfig
    tensors: TensorShapes  # every tensor's full shape, by Hugging Face's name
    embedding: str = "model.embed_tokens.weight"  # the name of the token embedding
    base: str = "model."  # what begins the names of all tensors but the head's


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One class of config.json."""

    name: str  # "LlamaForCausalLM"
    sizes: Sizes
    types: tuple[str, ...] = ()  # model_type of files, or of parts of them, that name no class
    spelt: tuple[str, ...] = ()  # other spellings of the class in published files
    native: Native | None = None
