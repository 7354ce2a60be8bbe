"""How many KV blocks fit beside weights that are loaded already. Pure.

The native engine asks `berth.fit` instead; this engine's models may be of any architecture, and
what a token adds to their caches was measured.
"""

from __future__ import annotations

from berth.fit.native import CannotFit

# Left to activations, the allocator's slack and whoever else lives on the machine.
HOST_RESERVE_BYTES = 512 * 1024 * 1024


class DoesNotFit(CannotFit):
    """The weights leave no room for a useful cache. The message has the numbers."""

    def __init__(self, sentence: str) -> None:
        super().__init__([sentence])


def cache_blocks(
    *,
    bytes_per_block: int,
    block_size: int,
    wanted_tokens: int,
    kv_cache_bytes: int | None,
    memory_fraction: float,
    total: int,
    free: int,
    ranks_here: int,
) -> int:
    """Blocks of the KV cache on one rank, the weights being loaded already.

    Args:
        bytes_per_block: over all layers.
        wanted_tokens: more than this are never used (all sequences at their longest).
        kv_cache_bytes: the operator's own number, if any.
        memory_fraction: of `total` that weights and caches together may take.
        total, free: bytes of the device now.
        ranks_here: ranks that share this device's memory (CPU; 1 on a GPU of its own).

    Raises:
        DoesNotFit: not even one block.
    """
    wanted = -(-wanted_tokens // block_size)
    if kv_cache_bytes is not None:
        room = kv_cache_bytes
    else:
        kept_back = int(total * (1 - memory_fraction))
        room = max(0, free - max(kept_back, HOST_RESERVE_BYTES)) // ranks_here
    blocks = min(wanted, room // bytes_per_block)
    if blocks < 1:
        raise DoesNotFit(
            f"the KV cache needs {bytes_per_block} bytes for one block of {block_size} tokens, "
            f"and {room} are left of {total} ({free} free before the cache)"
        )
    return blocks
