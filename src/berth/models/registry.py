"""Which module runs an architecture."""

from __future__ import annotations

from berth.checkpoint.config import ModelConfig
from berth.models.decoder import Decoder
from berth.models.falcon import Falcon
from berth.models.llama import Llama

_MODELS: dict[str, type[Decoder]] = {
    "llama": Llama,
    "mistral": Llama,
    "qwen2": Llama,
    "qwen3": Llama,
    "falcon": Falcon,
}


def model_class(config: ModelConfig) -> type[Decoder]:
    """The class that computes `config`; it is made as Decoder is."""
    return _MODELS[config.architecture]
