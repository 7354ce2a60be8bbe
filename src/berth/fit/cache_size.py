"""What sequences keep between steps: keys and values by kind of layer, latents, states."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from berth.checkpoint.numbers import (
    Attention,
    Layer,
    LinearAttention,
    StateSpace,
    state_elements,
)
from berth.fit.engines import EngineName, arithmetic
from berth.fit.units import ceil_bytes, ceil_div
from berth.fit.widths import elements_per_token

_STATE_BYTES = Fraction(4)  # recurrent states are kept in float32


def cache_bytes(
    layers: Iterable[tuple[Layer, int]],
    *,
    degree: int,
    context: int,
    concurrency: int,
    element: Fraction,
    engine: EngineName,
    batch_tokens: int,
) -> int:
    """Bytes of one rank's cache for `concurrency` sequences of `context` tokens.

    Args:
        layers: those of the rank's pipeline stage, each kind with its count.
        element: bytes of a cached element.
        batch_tokens: positions of one step; a sliding window keeps that many besides itself.
    """
    total = 0
    for layer, count in layers:
        tokens = kept_tokens(layer, context, engine, batch_tokens)
        per_token = elements_per_token(layer, degree)
        one = ceil_bytes(tokens * per_token, element) + _state_bytes(layer, degree, element)
        total += count * one
    return total * concurrency


def bytes_per_token(layers: Iterable[tuple[Layer, int]], degree: int, element: Fraction) -> int:
    """Bytes that one more token adds on one rank, while it is within every window."""
    return sum(
        count * ceil_bytes(elements_per_token(layer, degree), element) for layer, count in layers
    )


def kept_tokens(layer: Layer, context: int, engine: EngineName, batch_tokens: int) -> int:
    """Tokens of one sequence that a layer's cache has room for, whole blocks of them."""
    window = layer.mixer.window if isinstance(layer.mixer, Attention) else None
    return arithmetic(engine).kept_tokens(window, context, batch_tokens)


def _state_bytes(layer: Layer, degree: int, element: Fraction) -> int:
    if not isinstance(layer.mixer, LinearAttention | StateSpace):
        return 0
    state, convolution = state_elements(layer)
    return ceil_bytes(ceil_div(state, degree), _STATE_BYTES) + ceil_bytes(
        ceil_div(convolution, degree), element
    )
