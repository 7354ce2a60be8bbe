"""What fit asks of an engine. A method here is what most engines do; a file overrides its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

from berth.checkpoint.numbers import Layer, ModelNumbers
from berth.fit.units import MIB, ceil_div
from berth.fit.widths import Step, Widths

EngineName = Literal["native", "vllm", "transformers", "llamacpp"]
DeviceKind = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """One rank's part of a model, as its loader sees it."""

    numbers: ModelNumbers
    layers: Sequence[tuple[Layer, int]]  # of the rank's stage
    degree: int
    largest: int  # bytes of the rank's largest tensor
    element: Fraction  # bytes of an element during computation
    stored: Fraction  # as the checkpoint has it
    packed: bool = False  # the layers' matrices are packed


class EngineArithmetic(ABC):
    """One engine: its limits, and bytes of one rank. Sizes in bytes unless a name says tokens."""

    # Of a GPU's memory that it may take if nothing was asked for: the rest covers fragmentation
    # and what else is on the device.
    gpu_fraction: ClassVar[float] = 0.95
    least_capability: ClassVar[tuple[int, int]] = (5, 0)  # what torch 2.x has kernels for
    bfloat16_capability: ClassVar[tuple[int, int] | None] = None  # below, it refuses bfloat16
    on_cpu: ClassVar[bool] = True
    # What ranks share: each matrix, whole layers, or both of it (matrices within a node).
    splits: ClassVar[Literal["matrices", "layers", "both"]]
    block: ClassVar[int]  # tokens of one block of the KV cache
    kv_dtypes: ClassVar[frozenset[str]] = frozenset()  # that can be chosen for the cache
    kv_dtype: ClassVar[str | None] = None  # of the cache if nothing was asked for; None: computed
    schemes: ClassVar[frozenset[str]] = frozenset()  # of packed weights that it loads
    # It keeps packed weights in a layout of its own, whose size the files do not tell.
    repacks: ClassVar[bool] = False
    # What can be proposed if it does not fit: a smaller cache, packed weights, the mildest
    # first.
    smaller_cache: ClassVar[str | None] = None
    quantises: ClassVar[tuple[str, ...]] = ()
    activation_spread: ClassVar[float] = 0.3  # of the estimate, to either side
    exact_loading: ClassVar[bool] = False  # `load_transient` follows the loader's code

    def computes(self, architecture: str) -> bool:
        """Whether it runs models of this class."""
        del architecture
        return True

    @abstractmethod
    def default_batch_tokens(self, device_total: int) -> int:
        """Positions of one step if nothing was asked for."""

    def at_once(self, concurrency: int, max_num_seqs: int | None) -> int:
        """Sequences that sample in one step at most."""
        del max_num_seqs
        return concurrency

    def step_tokens(self, batch_tokens: int, at_once: int) -> int:
        """Positions of the largest step."""
        del at_once
        return batch_tokens

    @abstractmethod
    def kept_tokens(self, window: int | None, context: int, batch_tokens: int) -> int:
        """Tokens of one sequence that a layer's cache has room for.

        Args:
            window: of a sliding window, in tokens; None: all tokens are attended to.
            batch_tokens: positions of one step.
        """

    @abstractmethod
    def activations(self, width: Widths, step: Step, element: Fraction, kind: DeviceKind) -> int:
        """The widest live set of one layer in one step, logits apart."""

    @abstractmethod
    def logits(
        self, vocabulary: int, step: Step, *, degree: int, element: Fraction, device_total: int
    ) -> int:
        """Logits and what sampling makes of them, on rank 0 of the last stage."""

    def scores(
        self, layers: Sequence[tuple[Layer, int]], step: Step, *, degree: int, kind: DeviceKind
    ) -> int | None:
        """What attention builds besides; None if that is among the activations."""
        del layers, step, degree, kind
        return None

    def tables(
        self, layers: Sequence[tuple[Layer, int]], context: int, rotations: int
    ) -> int | None:
        """Tables that grow with the context and stay; None if there are none to speak of."""
        del layers, context, rotations
        return None

    def load_transient(self, loading: Loading, kind: DeviceKind) -> int:
        """What loading takes at its worst beside the weights: the largest tensor a second time."""
        del kind
        return loading.largest

    def padded_vocabulary(self, vocabulary: int) -> int:
        """Rows of the embedding as the engine keeps it."""
        return vocabulary

    def graph_sets(self, device_total: int) -> int:
        """How many times over the CUDA graphs of data/runtime.csv are captured."""
        del device_total
        return 1

    def shared_memory(self, ranks: int) -> int:
        """Of a node's /dev/shm, for `ranks` on it: NCCL takes a few MiB a pair."""
        return 64 * MIB * ranks

    def whole_blocks(self, tokens: int) -> int:
        """Tokens, rounded up to blocks."""
        return ceil_div(tokens, self.block) * self.block
