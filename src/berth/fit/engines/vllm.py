"""vLLM, which Berth does not start: estimates from its documented behaviour (0.2x and later)."""

from __future__ import annotations

from fractions import Fraction

from berth.fit.engines.base import DeviceKind, EngineArithmetic
from berth.fit.units import GIB, ceil_bytes, ceil_div
from berth.fit.widths import Step, Widths

_FLOAT32 = 4
_LARGE_DEVICE = 70 * GIB  # from this memory on it takes larger steps and more sequences
_BATCH, _LARGE_BATCH = 2048, 8192  # tokens
_SEQUENCES, _LARGE_SEQUENCES = 256, 1024
_VOCABULARY = 64  # it pads the vocabulary to a multiple of this before it divides it


class Vllm(EngineArithmetic):
    """Matrices are shared within a node, layers between nodes."""

    gpu_fraction = 0.92  # its own default
    least_capability = (7, 5)  # what it refuses to start on
    bfloat16_capability = (8, 0)
    on_cpu = False
    splits = "both"
    block = 16
    kv_dtypes = frozenset({"float16", "bfloat16", "fp8"})
    schemes = frozenset({"fp8", "int8", "nf4", "awq", "gptq", "mxfp4", "nvfp4", "int4"})
    smaller_cache = "fp8"
    quantises = ("fp8", "awq")

    def default_batch_tokens(self, device_total: int) -> int:
        return _LARGE_BATCH if device_total >= _LARGE_DEVICE else _BATCH

    def kept_tokens(self, window: int | None, context: int, batch_tokens: int) -> int:
        """A window keeps a step's positions besides itself; it may begin within a block."""
        whole = self.whole_blocks(context)
        if window is None:
            return whole
        return min(whole, self.whole_blocks(window - 1 + batch_tokens) + self.block)

    def activations(self, width: Widths, step: Step, element: Fraction, kind: DeviceKind) -> int:
        """Residual and hidden state, and the wider of attention and a fused feed-forward part."""
        del kind
        widest = max(width.fused + 2 * width.out, 3 * width.feed_forward)
        return ceil_bytes(step.tokens * (3 * width.hidden + widest), element)

    def logits(
        self, vocabulary: int, step: Step, *, degree: int, element: Fraction, device_total: int
    ) -> int:
        """It profiles its sampler with as many sequences as it may ever run."""
        del step, degree, element
        sequences = _LARGE_SEQUENCES if device_total >= _LARGE_DEVICE else _SEQUENCES
        return sequences * vocabulary * (2 * _FLOAT32)

    def padded_vocabulary(self, vocabulary: int) -> int:
        return ceil_div(vocabulary, _VOCABULARY) * _VOCABULARY

    def graph_sets(self, device_total: int) -> int:
        return 2 if device_total >= _LARGE_DEVICE else 1

    def shared_memory(self, ranks: int) -> int:
        """Its message queues ask for 1 GiB."""
        del ranks
        return GIB
