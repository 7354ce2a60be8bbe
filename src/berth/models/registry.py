"""Which module runs an architecture."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from berth.checkpoint.config import ModelConfig
from berth.models.decoder import Decoder
from berth.models.weights.names import native_of


def model_class(config: ModelConfig) -> type[Decoder]:
    """The class that computes `config`; it is made as Decoder is."""
    module = import_module(f"berth.models.{native_of(config).module}")
    return cast(type[Decoder], module.MODEL)
