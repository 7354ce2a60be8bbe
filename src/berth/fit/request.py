"""What is asked: a model, a machine, an engine and how it is to be used. Validated once."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from berth.checkpoint.numbers import ModelNumbers
from berth.fit.engines import ENGINES, EngineName, arithmetic, engines_that_load
from berth.fit.machines import Machine
from berth.fit.quantization import SCHEMES, Scheme, scheme_of_checkpoint
from berth.fit.units import ELEMENT_BYTES

DTYPES = ("float32", "bfloat16", "float16")

# Of a container's or a machine's memory: what an estimate may be short of. A machine that is known
# from a size table alone has its own daemons in it too.
_CPU_FRACTION, _NODE_FRACTION = 0.95, 0.90


class FitInputError(ValueError):
    """The question contradicts itself; the message names the field and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """One question to `fit`."""

    model: ModelNumbers
    machine: Machine
    name: str = "the model"  # what a message calls the model
    nodes: int = 1
    engine: EngineName = "native"
    context: int | None = None  # tokens of prompt and output; None: the model's own
    concurrency: int | None = None  # sequences of that length at the same time; None: 1
    dtype: str = "auto"  # of weights that are not quantised, and activations
    quantize: str | None = None  # a name of SCHEMES; None: as the checkpoint is
    kv_dtype: str = "auto"
    tensor: int | None = None  # tensor-parallel degree; None: the best that is feasible
    pipeline: int | None = None
    batch_tokens: int | None = None  # positions of one step; None: the engine's default
    # Native engine: sequences that one step may compute at most; None: the server's default. So
    # many sample at once, however long they are.
    max_num_seqs: int | None = None
    memory_fraction: float | None = None  # of the device's memory that the engine may take
    # Native engine on a GPU: tokens that decode gathers at once; None: all sequences, padded.
    gather_tokens: int | None = None
    # Bytes of the checkpoint's tensors as its safetensors headers say, if they were read.
    stored_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in (
            *("nodes", "context", "concurrency", "tensor", "pipeline", "batch_tokens"),
            "max_num_seqs",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise FitInputError(f"{name} is {value}; it should be at least 1")
        if self.engine not in ENGINES:
            raise FitInputError(f"engine {self.engine!r} is not known; {', '.join(ENGINES)} are")
        if self.dtype != "auto" and self.dtype not in DTYPES:
            raise FitInputError(f"dtype {self.dtype!r} is not known; auto, {', '.join(DTYPES)} are")
        if self.memory_fraction is not None and not 0 < self.memory_fraction <= 1:
            raise FitInputError(
                f"memory_fraction is {self.memory_fraction}; it should be above 0 and at most 1"
            )
        self._check_context()
        self._check_engine()
        self._check_quantisation()

    def _check_context(self) -> None:
        made_for = self.model.context
        if self.context is not None and made_for is not None and self.context > made_for:
            raise FitInputError(
                f"context is {self.context}, but {self.name} is made for {made_for} tokens"
            )

    def _check_engine(self) -> None:
        engine = arithmetic(self.engine)
        if not engine.computes(self.model.architecture):
            raise FitInputError(
                f"the {self.engine} engine does not run {self.model.architecture}; engine "
                "transformers may"
            )
        if engine.splits == "layers" and (self.tensor or 1) > 1:
            raise FitInputError(
                f"{self.engine} splits a model by layers: tensor should be 1, and pipeline the "
                "number of GPUs"
            )
        if engine.splits == "matrices" and (self.pipeline or 1) > 1:
            raise FitInputError(
                f"the {self.engine} engine has no pipeline parallelism: pipeline must be 1"
            )
        if not engine.on_cpu and self.machine.device.kind == "cpu":
            raise FitInputError(
                f"engine {self.engine} needs a GPU; on a CPU node use native or llamacpp"
            )
        if self.kv_dtype != "auto" and self.kv_dtype not in engine.kv_dtypes:
            known = ", ".join(sorted(engine.kv_dtypes | {"auto"}))
            raise FitInputError(
                f"kv_dtype {self.kv_dtype!r} is not one that {self.engine} has; {known}"
            )

    def _check_quantisation(self) -> None:
        if self.quantize is not None and self.quantize not in SCHEMES:
            raise FitInputError(
                f"quantize {self.quantize!r} is not known; {', '.join(SCHEMES)} are"
            )
        scheme = self.scheme
        if scheme is not None and scheme.name not in arithmetic(self.engine).schemes:
            wanted = ", ".join(engines_that_load(scheme.name))
            raise FitInputError(
                f"the {self.engine} engine does not run {scheme.name} weights; engine {wanted} does"
            )
        if scheme is None and self.model.quantization and self.stored_bytes is None:
            raise FitInputError(
                f"how {self.model.quantization} packs weights is not known; give the folder or hub "
                "id, so that the tensors' own sizes can be read"
            )

    @property
    def scheme(self) -> Scheme | None:
        """How weights are packed: as asked, else as the checkpoint is."""
        if self.quantize is not None:
            return SCHEMES[self.quantize]
        return scheme_of_checkpoint(self.model.quantization)

    @property
    def element(self) -> Fraction:
        """Bytes of an element of a weight that is not quantised, and of an activation."""
        return ELEMENT_BYTES[self.resolved_dtype]

    @property
    def resolved_dtype(self) -> str:
        if self.dtype != "auto":
            return self.dtype
        return self.stored_dtype

    @property
    def stored_dtype(self) -> str:
        """Of the checkpoint's tensors that are not quantised."""
        stored = self.model.dtype
        return stored if stored in DTYPES else "bfloat16"

    @property
    def kv_element(self) -> Fraction:
        """Bytes of a cached element."""
        if self.kv_dtype == "auto":
            own = arithmetic(self.engine).kv_dtype
            return self.element if own is None else ELEMENT_BYTES[own]
        return ELEMENT_BYTES[self.kv_dtype]

    @property
    def fraction(self) -> float:
        """Of the device's memory that the engine may take."""
        if self.memory_fraction is not None:
            return self.memory_fraction
        device = self.machine.device
        return default_fraction(self.engine, device.kind, known=device.known)

    @property
    def wanted_context(self) -> int:
        """Tokens; what was asked, else what the model is made for."""
        return self.context or self.model.context or 4096

    @property
    def wanted_concurrency(self) -> int:
        return self.concurrency or 1


def default_fraction(
    engine: EngineName, kind: Literal["gpu", "cpu"], *, known: bool = True
) -> float:
    """Of a device's memory, what an engine may take if the request names no fraction.

    Args:
        known: False for a machine of which only a size table's number is known.
    """
    if kind == "gpu":
        return arithmetic(engine).gpu_fraction
    return _CPU_FRACTION if known else _NODE_FRACTION
