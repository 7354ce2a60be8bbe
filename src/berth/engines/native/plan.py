"""One step's work, as rank 0 decides it and as every other rank receives it.

A rank reproduces the batch from the plan and one thing it keeps between steps: an array
`table[max_num_seqs, max_blocks_per_sequence]` of block ids, one row per slot. For each plan, in
this order:

1. `freed`: these slots hold no sequence any more (finished, cancelled or preempted since the last
   plan). Only state kept per slot beside the table has to be dropped; the row may stay, since
   nobody reads it before it is written again. A slot in `freed` may be taken anew by `blocks` and
   `slots` of the same plan.
2. `blocks`: triples (slot, index, block), flat: `table[slot, index] = block`. A sequence that
   takes a slot gets its whole table at once, blocks found in the prefix cache included.
3. For entry e of `slots`, with `start = starts[e]` and `count = counts[e]`: compute positions
   start … start + count - 1 of the sequence in that slot. Their token ids are the next `count` of
   the flat `tokens`. Position p's key and value go to `table[slot, p // block_size]`, offset
   `p % block_size`; position p attends to positions 0 … p through the same row.
4. `logits[e]` says how many of the entry's last positions need logits: 0 for a chunk that does
   not reach the end, 1 for a decode or a last chunk, 1 + `drafts[e]` for a decode with drafts, more
   where the prompt's own logprobs are asked for. Row p scores the prompt's token p + 1; each p but
   the prompt's last is asked for once, in order, even if the sequence is preempted in between.

The last `drafts[e]` tokens of an entry are drafts: proposed to come next, not accepted yet. What is
computed of them stands in the cache until the step's result is known. A rejected draft's position
is written again by a later plan; its block has been found by nobody meanwhile, and may have been
given back.

Entries stand in order of arrival. Each has a slot of its own; decodes (one position, and drafts)
come before any prefill that continues from an earlier step. No block is written by two entries,
and none that is written is shared, so entries may be computed in any order.
"""

from __future__ import annotations

import msgspec


class StepPlan(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one step computes; see above. Lists of the entries have one length."""

    step: int  # counts non-empty plans from 1, so that a rank notices a lost one
    freed: list[int]  # slots
    blocks: list[int]  # (slot, index, block) triples, flat
    slots: list[int]  # per entry
    starts: list[int]  # per entry: first position computed = positions already in the cache
    counts: list[int]  # per entry: positions computed, at least 1
    tokens: list[int]  # flat, sum(counts) ids
    logits: list[int]  # per entry: trailing positions that need logits
    samples: list[int]  # entries (indices, ascending) that sample: rank 0. At their last position,
    #                     and with drafts at each of the last 1 + drafts[e]
    drafts: list[int]  # per entry: trailing positions whose tokens are not accepted yet

    @classmethod
    def of(cls, step: int) -> StepPlan:
        """A plan without entries, to be filled."""
        return cls(step, [], [], [], [], [], [], [], [], [])

    @property
    def empty(self) -> bool:
        """True where there is nothing to compute: such a plan needs no step and no advance()."""
        return not self.slots
