"""What a model's loader asks of a folder of weights, whatever its layout.

Tensors are named as in Hugging Face's layout ("model.layers.0.self_attn.q_proj.weight"; names.py
lists them); a source of another layout translates. Nothing is read before it is asked for, and what
was read can be released, so that loading needs little more memory than the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from berth.checkpoint.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from berth.checkpoint.config import ModelConfig
    from berth.models.weights.files import TensorFile


class WeightError(CheckpointError):
    """A tensor is missing, damaged, mis-shaped or of a wrong dtype. Names tensor and file; the
    tensor is empty if only the file is known.
    """

    def __init__(self, tensor: str, file: str, reason: str) -> None:
        self.tensor = tensor
        self.file = file
        self.reason = reason
        super().__init__(f"{tensor} in {file}: {reason}" if tensor else f"{file}: {reason}")


class WeightSource(Protocol):
    """A folder of weights, open for reading. Memory-mapped; executes no pickle."""

    config: ModelConfig

    @property
    def files(self) -> Sequence[TensorFile]:
        """The files that hold the tensors."""
        ...

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors, as stored."""
        ...

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse, before anything is loaded, what could not be loaded.

        Args:
            expected: full (unsharded) shape of every tensor the model needs.

        Raises:
            WeightError: for the first tensor that is missing, truncated, of another shape, or of
                a dtype that is no floating-point one.
        """
        ...

    def read(
        self, name: str, *, dim: int = 0, start: int = 0, length: int | None = None
    ) -> torch.Tensor:
        """Rows `start` to `start + length` of `name` along `dim`; a view if the file allows it.

        Valid until `release(name)`. Raises WeightError like `check`.
        """
        ...

    def refuse(self, name: str, why: str) -> WeightError:
        """The error to raise about a tensor's content, by the name that the file has for it."""
        ...

    def release(self, name: str) -> None:
        """Let go of the pages behind `name`: they leave this process's resident memory."""
        ...

    def close(self) -> None: ...
