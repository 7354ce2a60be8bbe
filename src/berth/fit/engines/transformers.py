"""The transformers engine: estimates from what generate and its caches are documented to do."""

from __future__ import annotations

from fractions import Fraction

from berth.fit.engines.base import DeviceKind, EngineArithmetic
from berth.fit.units import ceil_bytes
from berth.fit.widths import Step, Widths

_FLOAT32 = 4


class Transformers(EngineArithmetic):
    """One process spreads the layers over its GPUs; weights may be quantised while they load."""

    splits = "layers"
    block = 1
    schemes = frozenset({"fp8", "int8", "nf4", "awq", "gptq", "mxfp4", "int4", "int8-channel"})
    quantises = ("int8", "nf4")

    def default_batch_tokens(self, device_total: int) -> int:
        """The whole prompt is computed at once; none of what depends on a step is."""
        del device_total
        return 0

    def kept_tokens(self, window: int | None, context: int, batch_tokens: int) -> int:
        del batch_tokens
        return context if window is None else min(context, window)

    def activations(self, width: Widths, step: Step, element: Fraction, kind: DeviceKind) -> int:
        """The whole prompts of a batch at once; a layer's cache is joined to a longer one."""
        del kind
        t = step.sequences * step.context
        widest = max(2 * width.fused + 2 * width.out, 3 * width.feed_forward)
        norms = t * width.hidden * _FLOAT32
        return ceil_bytes(t * (3 * width.hidden + widest + width.kv), element) + norms

    def logits(
        self, vocabulary: int, step: Step, *, degree: int, element: Fraction, device_total: int
    ) -> int:
        del degree, element, device_total
        return step.sequences * vocabulary * (3 * _FLOAT32)
