"""Which sequences hold a KV block: reference counts, and a prefix cache that shares full blocks.

A block holds the keys and values of `block_size` consecutive positions. It is always in exactly
one of three states: unused; held by one or more sequences; or cold: held by no sequence, but
still found by its content. New blocks come from the unused ones, then from the cold ones, least
recently held first. Every operation on one block takes constant time.

    cached = blocks.lookup(tokens, limit, root)   # ids of blocks that already hold a prefix
    blocks.room_after(cached, total)              # free blocks left (negative: does not fit)
    table = blocks.allocate(cached, total)        # hold the cached ones, take new ones
    table.append(blocks.append())                 # one more, when free_blocks allows
    chain = blocks.chain_after(cached, root)      # the content number of the last of them
    chain = blocks.publish(block, chain, tokens)  # its KV is computed: let others find it
    blocks.free(table)

A full block's content is the tokens of its positions after the content of the block before it.
It is compared exactly, not by a hash: a published content gets a number that is never used again
(its `chain`), and the key of the next block is the bytes of that number and of its own tokens. So
two prompts never share by accident, and a key costs 8 bytes per token whatever the prefix's length.

A sequence's KV can depend on more than its token ids: an adapter's weights, the content of an
image. Such a sequence has a `root`, a number that stands for all of it; its first block's key
begins with that number, and so every key after it differs. Equal ids under different roots share
nothing; root 0 is a sequence of token ids alone.

If a block is evicted before its successors, these can no longer be found (they turn cold and are
evicted in their turn); freeing a table back to front makes that rare.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Sequence as Tokens


class BlockManager:
    """The blocks of one engine's KV cache, numbered 0 … num_blocks - 1."""

    def __init__(self, num_blocks: int, block_size: int, prefix_caching: bool = True) -> None:
        """Raises ValueError if there is not at least one block of one position."""
        if num_blocks < 1 or block_size < 1:
            raise ValueError(
                f"num_blocks ({num_blocks}) and block_size ({block_size}) must be at least 1"
            )
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_caching = prefix_caching
        self._unused = list(range(num_blocks - 1, -1, -1))  # low ids first: memory is touched late
        self._cold: OrderedDict[int, None] = OrderedDict()  # least recently held first
        self._references = [0] * num_blocks
        self._published: dict[bytes, int] = {}
        self._keys: list[bytes | None] = [None] * num_blocks
        # Published contents count from 1; 0: not published. A root is the chain before a first
        # block: 0 or less, so that it equals no content's number.
        self._chains = [0] * num_blocks
        self._last_chain = 0
        self._pack = struct.Struct(f"={block_size + 1}q").pack

    @property
    def free_blocks(self) -> int:
        """Blocks that no sequence holds: unused and cold."""
        return len(self._unused) + len(self._cold)

    @property
    def used_blocks(self) -> int:
        """Blocks that at least one sequence holds."""
        return self.num_blocks - self.free_blocks

    def blocks_for(self, positions: int) -> int:
        """How many blocks this many positions take."""
        return -(-positions // self.block_size)

    def lookup(self, tokens: Tokens[int], limit: int, root: int = 0) -> list[int]:
        """The blocks that hold the longest known prefix of `tokens`, at most `limit` of them.

        Only what was published from the same `root` (0 … MOST_ROOT) is found.

        Nothing is held by it: the answer is good until the next allocate or append.
        """
        found: list[int] = []
        if not self.prefix_caching:
            return found
        size, pack, published = self.block_size, self._pack, self._published
        chain = -root
        for start in range(0, min(limit, len(tokens) // size) * size, size):
            block = published.get(pack(chain, *tokens[start : start + size]))
            if block is None:
                break
            found.append(block)
            chain = self._chains[block]
        return found

    def chain_after(self, cached: list[int], root: int = 0) -> int:
        """What `publish` wants for the block after `cached`, which `lookup` found from `root`."""
        return self._chains[cached[-1]] if cached else -root

    def room_after(self, cached: list[int], total: int) -> int:
        """Free blocks that allocate(cached, total) would leave; negative if it cannot."""
        references = self._references
        cold = sum(1 for block in cached if not references[block])
        return self.free_blocks - cold - (total - len(cached))

    def allocate(self, cached: list[int], total: int) -> list[int]:
        """A table of `total` blocks that begins with `cached` (from `lookup`), all held.

        The caller has made sure that room_after(cached, total) is not negative.
        """
        references = self._references
        for block in cached:  # all of them before the first new one, which might evict one
            if not references[block]:
                del self._cold[block]
            references[block] += 1
        return cached + [self.append() for _ in range(total - len(cached))]

    def append(self) -> int:
        """Take one new block, its content forgotten. Raises IndexError if none is free."""
        if self._unused:
            block = self._unused.pop()
        elif self._cold:
            block, _ = self._cold.popitem(last=False)
            self._forget(block)
        else:
            raise IndexError("no free block")
        self._references[block] = 1
        return block

    def publish(self, block: int, chain: int, tokens: Tokens[int]) -> int:
        """Let others find `block`, whose positions hold the KV of exactly these tokens.

        `chain` is what publish returned for the block before it, or what chain_after says. If
        an equal block is published already, that one stays and this one remains private.

        Returns: the content's number, for the next block.
        """
        key = self._pack(chain, *tokens)
        known = self._published.get(key)
        if known is not None:
            return self._chains[known]
        self._last_chain += 1
        self._published[key] = block
        self._keys[block] = key
        self._chains[block] = self._last_chain
        return self._last_chain

    def forget(self, table: list[int]) -> None:
        """Make `lookup` find these blocks no longer: their content is not to be trusted."""
        for block in table:
            self._forget(block)

    def free(self, table: list[int]) -> None:
        """Let go of a table. A block that no other sequence holds is free at once."""
        references, keys = self._references, self._keys
        for block in reversed(table):  # so that a prefix outlives what follows it
            references[block] -= 1
            if references[block]:
                continue
            if keys[block] is None:
                self._unused.append(block)
            else:
                self._cold[block] = None

    def _forget(self, block: int) -> None:
        key = self._keys[block]
        if key is not None:
            del self._published[key]
            self._keys[block] = None
            self._chains[block] = 0
