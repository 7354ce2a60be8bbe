"""Which engine runs a model: decided by the architecture that its config.json names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from berth.protocol.config import EngineKind

# The classes of config.json that berth.models computes, with its own name for each; a test holds
# the two to each other. They stand here because the server decides, and the server does not load
# the models' code.
NATIVE: Mapping[str, str] = {
    "LlamaForCausalLM": "llama",
    "LLaMAForCausalLM": "llama",  # as the first conversions of Llama 1 spelt it
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "FalconForCausalLM": "falcon",
}


class UnknownArchitecture(ValueError):
    """An engine was asked to run what it does not know. The message names both."""


def is_native(config: Mapping[str, Any]) -> bool:
    """Whether the native engine computes the architecture of this config.json."""
    names = config.get("architectures")
    if names:
        return isinstance(names, list) and len(names) == 1 and names[0] in NATIVE
    return config.get("model_type") in NATIVE.values()


def choose_engine(
    config: Mapping[str, Any] | None,
    wanted: Literal["auto"] | EngineKind = "auto",
    *,
    quantise: bool = False,
) -> EngineKind:
    """The engine for a model's folder.

    Args:
        config: the content of config.json; None for a folder in Meta's layout, which has none.
        wanted: what the owner said.
        quantise: whether the weights are to be loaded in 8 or 4 bits, which only transformers does.

    Raises:
        UnknownArchitecture: the engine that was asked for does not run this model.
    """
    if config is None:
        if wanted == "transformers" or quantise:
            raise UnknownArchitecture(
                "the transformers engine reads Hugging Face's layout, and this folder is in "
                "Meta's; leave --engine and the quantisation out, or use berth convert"
            )
        return "native"
    if wanted == "native":
        if quantise:
            raise UnknownArchitecture(
                "the native engine does not quantise while loading; use --engine transformers"
            )
        if not is_native(config):
            raise UnknownArchitecture(
                f"the native engine does not know {_named(config)}; it knows "
                f"{', '.join(sorted(NATIVE))}. Use --engine transformers, which runs whatever "
                "transformers' AutoModelForCausalLM loads"
            )
        return "native"
    stored_quantised = config.get("quantization_config") is not None
    if wanted == "transformers" or quantise or stored_quantised or not is_native(config):
        return "transformers"
    return "native"


def _named(config: Mapping[str, Any]) -> str:
    """The architecture as the file has it, shortened where it is no name."""
    names = config.get("architectures") or config.get("model_type") or "an unnamed architecture"
    return str(names[0] if isinstance(names, list) and len(names) == 1 else names)[:100]
