"""llama.cpp, which Berth does not start: estimates from its documented behaviour."""

from __future__ import annotations

from fractions import Fraction

from berth.fit.engines.base import DeviceKind, EngineArithmetic, Loading
from berth.fit.widths import Step, Widths

_FLOAT32 = 4
_BATCH = 512  # positions of one micro-batch


class LlamaCpp(EngineArithmetic):
    """Layers are spread over GPUs; weights are mapped from a GGUF file."""

    splits = "layers"
    block = 256  # it pads the whole cache to so many cells
    kv_dtypes = frozenset({"float32", "float16", "bfloat16", "q8_0"})
    kv_dtype = "float16"  # whatever the weights are
    schemes = frozenset({"q8_0", "q4_k_m", "q4_0"})
    smaller_cache = "q8_0"
    quantises = ("q8_0", "q4_k_m")

    def default_batch_tokens(self, device_total: int) -> int:
        del device_total
        return _BATCH

    def kept_tokens(self, window: int | None, context: int, batch_tokens: int) -> int:
        whole = self.whole_blocks(context)
        if window is None:
            return whole
        return min(whole, self.whole_blocks(window - 1 + batch_tokens))

    def activations(self, width: Widths, step: Step, element: Fraction, kind: DeviceKind) -> int:
        """One compute buffer in float32 for a micro-batch, planned before anything runs."""
        del element, kind
        each = 4 * width.hidden + width.fused + width.out + 2 * width.feed_forward + step.context
        return step.tokens * each * _FLOAT32

    def logits(
        self, vocabulary: int, step: Step, *, degree: int, element: Fraction, device_total: int
    ) -> int:
        del step, degree, element, device_total
        return _BATCH * vocabulary * _FLOAT32

    def load_transient(self, loading: Loading, kind: DeviceKind) -> int:
        """None: weights are mapped from the file."""
        del loading, kind
        return 0
