"""The native engine: its numbers follow its code line by line, and change with it.

That code is models/llama.py, models/parallel.py, kernels/ops.py and engines/sampling/sampler.py;
tests hold the numbers against a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from berth.checkpoint.hf import CLASSES
from berth.checkpoint.numbers import Attention, Layer, Mlp
from berth.fit.engines.base import DeviceKind, EngineArithmetic, Loading
from berth.fit.units import ceil_bytes, ceil_div
from berth.fit.widths import Step, Widths
from berth.protocol.config import MAX_NUM_SEQS

_FLOAT32 = 4
_SCORE_BYTES = 256 * 2**20  # berth.kernels.ops.SCORE_BYTES; a test holds them together
# The sampler's worst case a logit: float32 scores, their copy, what is chosen from and its
# softmax (4 bytes each), and float64 probabilities with their running sum (8 each).
_SAMPLER_BYTES = 4 * _FLOAT32 + 2 * 8


class Native(EngineArithmetic):
    """Blocks of 16 tokens serve all layers; ranks share each matrix; nothing is quantised here."""

    splits = "matrices"
    block = 16
    activation_spread = 0.1
    exact_loading = True
    schemes = frozenset({"int8-channel"})
    repacks = True

    def computes(self, architecture: str) -> bool:
        return architecture in CLASSES

    def default_batch_tokens(self, device_total: int) -> int:
        del device_total
        return 1024

    def at_once(self, concurrency: int, max_num_seqs: int | None) -> int:
        return max(concurrency, max_num_seqs or MAX_NUM_SEQS)

    def step_tokens(self, batch_tokens: int, at_once: int) -> int:
        return max(batch_tokens, at_once)

    def kept_tokens(self, window: int | None, context: int, batch_tokens: int) -> int:
        """All of a sequence, windows or not."""
        del window, batch_tokens
        return self.whole_blocks(context)

    def activations(self, width: Widths, step: Step, element: Fraction, kind: DeviceKind) -> int:
        return (_on_gpu if kind == "gpu" else _on_cpu)(width, step, element)

    def logits(
        self, vocabulary: int, step: Step, *, degree: int, element: Fraction, device_total: int
    ) -> int:
        del device_total
        copies = 1 if degree == 1 else 2  # the ranks' parts, and joined
        rows = max(step.sequences, step.sampled) * (
            ceil_bytes(vocabulary, element * copies) + vocabulary * _SAMPLER_BYTES
        )
        # A prompt whose logprobs are asked for: a row for each position of the step.
        echo = ceil_bytes(step.tokens * vocabulary, element * copies) + 3 * vocabulary * _FLOAT32
        return max(rows, echo)

    def scores(
        self, layers: Sequence[tuple[Layer, int]], step: Step, *, degree: int, kind: DeviceKind
    ) -> int | None:
        """On a GPU: what attention with a mask builds if torch has no fused kernel.

        A later chunk of a prompt attends in pieces (kernels/ops.py, `rows_at_once`), each of which
        has its scores, their softmax and a mask within SCORE_BYTES, one row at least; a decode step
        has a row a sequence. Keys and values are widened to float32 then. An upper bound: fused
        kernels build none of it. Not run on a GPU yet.
        """
        if kind == "cpu":
            return None
        worst = 0
        for layer, _ in layers:
            mixer = layer.mixer
            if not isinstance(mixer, Attention):
                continue
            heads, kv = ceil_div(mixer.heads, degree), ceil_div(mixer.kv_heads, degree)
            reach = min(step.context, (mixer.window or step.context) + step.tokens)
            rows = min(step.tokens, step.context)
            per_row = reach * (2 * heads * _FLOAT32 + (1 + _FLOAT32) * (heads // kv))
            widened = 2 * kv * mixer.head_dim * _FLOAT32
            prefill = 0
            if step.context > rows or mixer.window is not None:
                prefill = max(per_row, min(rows * per_row, _SCORE_BYTES)) + reach * widened
            decode = step.gathered * (2 * heads * _FLOAT32 + widened)
            worst = max(worst, prefill, decode)
        return worst

    def tables(
        self, layers: Sequence[tuple[Layer, int]], context: int, rotations: int
    ) -> int | None:
        """Cosine and sine of every position in float32, on each rank."""
        heads = [layer.mixer.head_dim for layer, _ in layers if isinstance(layer.mixer, Attention)]
        return context * max(heads, default=0) * _FLOAT32 * rotations

    def load_transient(self, loading: Loading, kind: DeviceKind) -> int:
        """On CPU the loader fills one fused matrix, then packs a copy and drops the first.

        What that adds at its worst to the weights' final size, walking the last layer and the head
        in the loader's order; a source's rows are mapped while they are copied.
        """
        if kind == "gpu":
            return 0
        numbers, degree = loading.numbers, loading.degree
        ratio = loading.stored / loading.element
        if loading.packed:
            return self._load_packed(loading)
        pieces: list[tuple[int, int]] = []  # elements of a rank's matrix, of its largest source
        for layer, _ in loading.layers[-1:]:
            pieces += _pieces(numbers.hidden, layer.mixer, layer.feed_forward, degree)
        if not numbers.tied:
            head = numbers.vocab * numbers.hidden // degree
            pieces.append((head, head))
        after = 0
        worst = 0
        for own, source in reversed(pieces):
            # At this moment everything behind it is not there yet.
            extra = max(own, int(source * ratio))
            worst = max(worst, extra - after)
            after += own
        return ceil_bytes(worst, loading.element)

    def _load_packed(self, loading: Loading) -> int:
        """Bytes stay as they are; a packed layer's largest source is mapped, and perhaps unpacked,
        while it is copied. A head that is not packed is the worst, unless it is tied.
        """
        layer = [
            2 * source
            for kind, _ in loading.layers[-1:]
            for _, source in _pieces(
                loading.numbers.hidden, kind.mixer, kind.feed_forward, loading.degree
            )
        ]
        head = 0
        if not loading.numbers.tied:
            rows = loading.numbers.vocab * loading.numbers.hidden // loading.degree
            head = ceil_bytes(rows, max(loading.element, loading.stored))
        return max(*layer, head)


def _pieces(hidden: int, mixer: object, feed_forward: object, degree: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    if isinstance(mixer, Attention):
        q = mixer.heads * mixer.head_dim * hidden // degree
        kv = mixer.kv_heads * (mixer.head_dim + mixer.values) * hidden // degree
        found += [(q + kv, q), (q, q)]
    if isinstance(feed_forward, Mlp):
        one = feed_forward.intermediate * hidden // degree
        found += [(2 * one if feed_forward.gated else one, one), (one, one)]
    return found


def _on_cpu(w: Widths, step: Step, element: Fraction) -> int:
    """kernels.c: nothing is widened, decode reads the cache in place."""
    t = step.tokens
    held = 2 * w.hidden  # the layer's input, held by its caller, and the residual
    norm = held + 2 * w.hidden
    # q, k and v; attention's output twice (fused kernel's own, then rows of the step); keys and
    # values gathered from blocks, and once more as the kernel repacks them; its mask.
    attention = t * (held + w.hidden + w.fused + 2 * w.out)
    rows = min(t, step.context)
    gathered = 2 * step.context * w.kv
    mask = step.context * rows if step.context > rows else 0
    projected = t * (held + w.hidden + w.fused + w.out + w.hidden)
    mlp = t * (held + w.hidden + 3 * w.feed_forward)
    widest = max(t * norm, attention + gathered + mask, projected, mlp)
    return ceil_bytes(widest, element) + mask


def _on_gpu(w: Widths, step: Step, element: Fraction) -> int:
    """TorchOps: norms and rotation widen to float32, decode gathers every sequence's blocks."""
    t = step.tokens
    held = 2 * w.hidden
    norm = ceil_bytes(t * (held + 3 * w.hidden), element) + t * 2 * w.hidden * _FLOAT32
    rotation = ceil_bytes(t * (held + w.hidden + w.fused), element) + 3 * t * w.rotated * _FLOAT32
    rows = min(t, step.context)
    attention = ceil_bytes(
        t * (held + w.hidden + w.fused + 2 * w.out) + ceil_div(3 * step.context * w.kv, 2), element
    ) + (rows * step.context if step.context > rows else 0)
    decode = ceil_bytes(
        step.sequences * (held + w.hidden + w.fused + 2 * w.out)
        + ceil_div(3 * step.gathered * w.kv, 2),
        element,
    )
    mlp = ceil_bytes(t * (held + w.hidden + 4 * w.feed_forward), element)
    return max(norm, rotation, attention, decode, mlp)
