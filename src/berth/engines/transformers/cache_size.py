"""How many tokens the caches may hold beside weights that are loaded already. Pure.

The native engine asks `berth.fit` how much each step takes; this engine's models may be of any
architecture, and what a token adds to their caches was measured.
"""

from __future__ import annotations

from berth.fit.budget import SHARE, CannotFit
from berth.fit.units import human

# Left to what a pass computes and gives back, if there is so much; else half of what is left.
_PASSING_BYTES = 256 * 1024 * 1024


class DoesNotFit(CannotFit):
    """The weights leave no room for a useful cache. The message has the numbers."""

    def __init__(self, sentence: str) -> None:
        super().__init__([sentence])


def cache_tokens(
    *,
    bytes_per_token: int,
    wanted: int,
    longest: int,
    room: int,
    kv_cache_bytes: int | None = None,
    shared: bool = False,
) -> int:
    """Tokens of all sequences together.

    Args:
        wanted: more than this are never used (all sequences at their longest).
        longest: tokens of one sequence.
        room: bytes that the engine may still take of the device.
        kv_cache_bytes: the operator's own number, if any.
        shared: it is a machine that others use too: room for the longest sequence, and beyond that
            for a part of what is left, as the native engine has it.

    Raises:
        DoesNotFit: not even one token.
    """
    if kv_cache_bytes is not None:
        room = kv_cache_bytes
    else:
        room -= min(_PASSING_BYTES, room // 2)
    tokens = room // bytes_per_token
    if shared and kv_cache_bytes is None:
        tokens = min(tokens, max(longest, int(tokens * SHARE)))
    if tokens < 1:
        raise DoesNotFit(
            f"the KV cache needs {human(bytes_per_token)} for one token, and {human(room)} are left"
        )
    return min(wanted, tokens)
