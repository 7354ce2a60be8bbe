"""What can be wrong with a model's folder, file or description: one family of errors.

CheckpointError
  ConfigError          config.json or params.json: a key is missing, malformed, or contradicts
    UnknownArchitecture    the tensors of its class are not known
  HeaderError          the beginning of a safetensors file
  NoEngine             no engine, or not the one that was asked for, runs this model
  WeightError          a tensor is missing, torn, damaged or of another shape (berth.models)
  WeightsMissing       a file of weights is missing or not whole (berth.images)
"""

from __future__ import annotations


class CheckpointError(ValueError):
    """A model cannot be read or run in its present state; the message is a sentence."""


class ConfigError(CheckpointError):
    """A model's configuration is missing, malformed or of an architecture we do not know."""


class UnknownArchitecture(ConfigError):
    """An architecture whose tensors we do not know; `architecture` is its name."""

    def __init__(self, architecture: str) -> None:
        super().__init__(f"architecture {architecture} is not known, so its size is not either")
        self.architecture = architecture


class NoEngine(CheckpointError):
    """An engine was asked to run what it does not know. The message names both."""
