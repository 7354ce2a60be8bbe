"""What a step needs besides weights and cache, at its widest moment, on one rank.

The native engine's numbers follow its code line by line (models/llama.py, kernels/ops.py,
engines/sampling/sampler.py) and change with it; tests hold them against a run. The others are
estimates from their documented behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from berth.checkpoint.numbers import (
    Attention,
    LatentAttention,
    Layer,
    LinearAttention,
    Mlp,
    ModelNumbers,
    Moe,
    StateSpace,
)
from berth.fit.cache_size import elements_per_token
from berth.fit.request import EngineName
from berth.fit.units import ceil_bytes, ceil_div

# Positions that one step computes where nobody said. vLLM's depends on the device.
_BATCH_TOKENS: dict[EngineName, int] = {
    "native": 1024,
    "vllm": 2048,
    "transformers": 0,  # the whole prompt at once
    "llamacpp": 512,
}
_VLLM_LARGE_DEVICE = 70 * 2**30  # from this memory on vLLM takes larger steps and more sequences
_VLLM_LARGE_BATCH, _VLLM_SEQUENCES, _VLLM_LARGE_SEQUENCES = 8192, 256, 1024
_FLOAT32 = 4
_SCORE_BYTES = 256 * 2**20  # berth.kernels.ops.SCORE_BYTES; a test holds them together
# The sampler's worst case a logit: float32 scores, their copy, what is chosen from and its
# softmax (4 bytes each), and float64 probabilities with their running sum (8 each).
_SAMPLER_BYTES = 4 * _FLOAT32 + 2 * 8


@dataclass(frozen=True, slots=True)
class Step:
    """The largest step that may come."""

    tokens: int  # positions computed
    sequences: int
    context: int  # tokens of the longest sequence
    # Tokens of all sequences that decode gathers from the cache at once; None: every sequence
    # padded to the longest.
    gather: int | None = None
    sampled: int = 1  # sequences that sample at once, however long they are

    @property
    def gathered(self) -> int:
        padded = self.sequences * ceil_div(self.context, 16) * 16
        return padded if self.gather is None else min(padded, max(self.gather, self.context))


@dataclass(frozen=True, slots=True)
class _Widths:
    """Elements of one position in one layer, on one rank."""

    hidden: int
    fused: int  # queries, keys and values
    out: int  # heads * value dim
    rotated: int  # queries and keys
    feed_forward: int
    kv: int  # keys and values of one token
    grouped: bool  # fewer kv heads than heads


def batch_tokens(engine: EngineName, device_total: int, given: int | None) -> int:
    """Positions of one step."""
    if given is not None:
        return given
    if engine == "vllm" and device_total >= _VLLM_LARGE_DEVICE:
        return _VLLM_LARGE_BATCH
    return _BATCH_TOKENS[engine]


def activation_bytes(
    numbers: ModelNumbers,
    layers: Iterable[tuple[Layer, int]],
    step: Step,
    *,
    engine: EngineName,
    kind: Literal["gpu", "cpu"],
    degree: int,
    element: Fraction,
) -> int:
    """The widest live set of a step over `layers`, logits apart."""
    widths = {_widths(numbers.hidden, layer, degree) for layer, _ in layers}
    if engine == "native":
        one = _native_gpu if kind == "gpu" else _native_cpu
    elif engine == "vllm":
        one = _vllm
    elif engine == "transformers":
        one = _transformers
    else:
        one = _llamacpp
    return max((one(w, step, element) for w in widths), default=0)


def logits_bytes(
    vocabulary: int,
    step: Step,
    *,
    engine: EngineName,
    degree: int,
    element: Fraction,
    device_total: int,
) -> int:
    """Logits and what sampling makes of them, on rank 0 of the last stage."""
    if engine == "native":
        copies = 1 if degree == 1 else 2  # the ranks' parts, and joined
        rows = max(step.sequences, step.sampled) * (
            ceil_bytes(vocabulary, element * copies) + vocabulary * _SAMPLER_BYTES
        )
        # A prompt whose logprobs are asked for: a row for each position of the step.
        echo = ceil_bytes(step.tokens * vocabulary, element * copies) + 3 * vocabulary * _FLOAT32
        return max(rows, echo)
    if engine == "vllm":
        large = device_total >= _VLLM_LARGE_DEVICE
        sequences = _VLLM_LARGE_SEQUENCES if large else _VLLM_SEQUENCES
        # It profiles its sampler with as many sequences as it may ever run.
        return sequences * vocabulary * (2 * _FLOAT32)
    if engine == "transformers":
        return step.sequences * vocabulary * (3 * _FLOAT32)
    return _BATCH_TOKENS["llamacpp"] * vocabulary * _FLOAT32


def score_bytes(
    layers: Iterable[tuple[Layer, int]], step: Step, *, degree: int, kind: Literal["gpu", "cpu"]
) -> int:
    """Native engine on a GPU: what attention with a mask builds where torch has no fused kernel.

    A later chunk of a prompt attends in pieces (kernels/ops.py, `rows_at_once`), each of which has
    its scores, their softmax and a mask within SCORE_BYTES, one row at least; a decode step has a
    row a sequence. Keys and values are widened to float32 then. An upper bound: fused kernels build
    none of it. Not run on a GPU yet.
    """
    if kind == "cpu":
        return 0
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


def _widths(hidden: int, layer: Layer, degree: int) -> _Widths:
    fused = out = rotated = 0
    grouped = False
    match layer.mixer:
        case Attention() as m:
            heads, kv = ceil_div(m.heads, degree), ceil_div(m.kv_heads, degree)
            rotated = (heads + kv) * m.head_dim
            fused = rotated + kv * m.values
            out = heads * m.values
            grouped = kv != heads
        case LatentAttention() as m:
            heads = ceil_div(m.heads, degree)
            rotated = heads * (m.qk_nope_head_dim + m.qk_rope_head_dim)
            fused = 2 * rotated + (m.q_lora_rank or 0) + m.kv_lora_rank
            out = heads * m.v_head_dim
        case LinearAttention() as m:
            fused = ceil_div(2 * m.key_heads * m.key_dim + 2 * m.value_heads * m.value_dim, degree)
            out = ceil_div(m.value_heads * m.value_dim, degree)
        case StateSpace() as m:
            fused = ceil_div(m.inner + m.channels + m.heads, degree)
            out = ceil_div(m.inner, degree)
    return _Widths(
        hidden=hidden,
        fused=fused,
        out=out,
        rotated=rotated,
        feed_forward=_feed_forward_width(layer, degree),
        kv=elements_per_token(layer, degree),
        grouped=grouped,
    )


def _feed_forward_width(layer: Layer, degree: int) -> int:
    match layer.feed_forward:
        case Mlp() as part:
            return ceil_div(part.intermediate, degree)
        case Moe() as part:
            each = ceil_div(part.intermediate, degree)
            return part.experts_per_token * each + ceil_div(part.shared + part.dense, degree)
        case _:
            return 0


def _native_cpu(w: _Widths, step: Step, element: Fraction) -> int:
    """kernels.c: nothing is widened, decode reads the cache where it lies."""
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


def _native_gpu(w: _Widths, step: Step, element: Fraction) -> int:
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


def _vllm(w: _Widths, step: Step, element: Fraction) -> int:
    """Residual and hidden state, and the wider of attention and a fused feed-forward part."""
    widest = max(w.fused + 2 * w.out, 3 * w.feed_forward)
    return ceil_bytes(step.tokens * (3 * w.hidden + widest), element)


def _transformers(w: _Widths, step: Step, element: Fraction) -> int:
    """The whole prompts of a batch at once; a layer's cache is joined to a longer one."""
    t = step.sequences * step.context
    widest = max(2 * w.fused + 2 * w.out, 3 * w.feed_forward)
    norms = t * w.hidden * _FLOAT32
    return ceil_bytes(t * (3 * w.hidden + widest + w.kv), element) + norms


def _llamacpp(w: _Widths, step: Step, element: Fraction) -> int:
    """One compute buffer in float32 for a micro-batch, planned before anything runs."""
    del element
    t = step.tokens
    return t * (4 * w.hidden + w.fused + w.out + 2 * w.feed_forward + step.context) * _FLOAT32
