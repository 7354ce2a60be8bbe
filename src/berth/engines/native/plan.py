"""One step's work, as rank 0 decides it and as every other rank receives it.

A rank reproduces the batch from the plan and one thing it keeps between steps: an array
`table[max_num_seqs, max_blocks_per_sequence]` of block ids, one row per slot. For each plan, in
this order:

1. `freed`: these slots hold no sequence any more (finished, cancelled or preempted since the last
   plan). Only state kept per slot beside the table has to be dropped; the row may stay, since
   it is not read before it is written again. A slot in `freed` may be taken anew by `blocks` and
   `slots` of the same plan.
2. `blocks`: triples (slot, index, block), flat: `table[slot, index] = block`. A sequence that
   takes a slot gets its whole table at once, blocks found in the prefix cache included.
3. For entry e of `slots`, with `start = starts[e]` and `count = counts[e]`: compute positions
   start … start + count - 1 of the sequence in that slot. Their token ids are the next `count` of
   the flat `tokens`. Position p's key and value go to `table[slot, p // block_size]`, offset
   `p % block_size`; position p attends to positions 0 … p through the same row.
4. `logits[e]` says how many of the entry's last positions need logits: 0 for a chunk that does
   not reach the end, 1 for a decode or a last chunk, 1 + `drafts[e]` for a decode with drafts, more
   if the prompt's own logprobs are asked for. Row p scores the prompt's token p + 1; each p but
   the prompt's last is asked for once, in order, even if the sequence is preempted in between.

The last `drafts[e]` tokens of an entry are drafts: proposed to come next, not accepted yet. What is
computed of them stands in the cache until the step's result is known. A rejected draft's position
is written again by a later plan; its block has not been found by a lookup meanwhile, and may have
been given back.

Entries stand in order of arrival. Each has a slot of its own; decodes (one position, and drafts)
come before any prefill that continues from an earlier step. No block is written by two entries,
and none that is written is shared, so entries may be computed in any order.
"""

from __future__ import annotations

from collections.abc import Sequence as Tokens

import msgspec

from berth.engines.host.sequence import Sequence


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
        """True if there is nothing to compute: such a plan needs no step and no advance()."""
        return not self.slots

    def enter(self, sequence: Sequence, most: int, drafts: int = 0) -> None:
        """Add an entry: what is left of a sequence, or as much of it as the step has room for.

        Args:
            most: tokens of the whole step.
            drafts: how many of the sequence's are computed with its last token.
        """
        start = sequence.num_computed
        end = len(sequence.tokens)
        if end - start == 1:
            self.tokens.append(sequence.tokens[start])
            self.tokens.extend(sequence.draft[:drafts])
        else:
            end = min(end, start + most - len(self.tokens))
            self.tokens.extend(sequence.tokens[start:end])
        samples = end == len(sequence.tokens)
        if samples:
            self.samples.append(len(self.slots))
        if sequence.scored < sequence.num_prompt:
            self.logits.append(max(0, end - max(start, sequence.scored)))
        else:
            self.logits.append(1 + drafts if samples else 0)
        self.slots.append(sequence.slot)
        self.starts.append(start)
        self.counts.append(end - start + drafts)
        self.drafts.append(drafts)

    def given(
        self, accepted: Tokens[Tokens[int]], seated: Tokens[Sequence | None]
    ) -> list[Tokens[int] | None]:
        """What each entry was given of `accepted`; None if it does not sample.

        Args:
            accepted: the tokens of each entry that samples.
            seated: the sequence of each slot; None if it was cancelled since.

        Raises:
            ValueError: not one list for each entry that samples, or tokens that are no drafts of
                the entry's with one more behind them.
        """
        if len(accepted) != len(self.samples):
            raise ValueError(
                f"tokens of {len(accepted)} entries for {len(self.samples)} that sample"
            )
        given: list[Tokens[int] | None] = [None] * len(self.slots)
        for entry, tokens in zip(self.samples, accepted, strict=True):
            given[entry] = tokens
            if len(tokens) == 1:
                continue
            sequence = seated[self.slots[entry]]
            if sequence is None:
                continue
            drafts = sequence.draft[: self.drafts[entry]]
            if not 1 <= len(tokens) <= 1 + len(drafts):
                raise ValueError(f"{len(tokens)} tokens for an entry with {len(drafts)} drafts")
            if list(tokens[:-1]) != drafts[: len(tokens) - 1]:
                raise ValueError(f"tokens {list(tokens)} do not begin with the drafts {drafts}")
        return given
