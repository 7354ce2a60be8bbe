"""What is computed in the next step: continuous batching with chunked prefill.

    scheduler = Scheduler(max_num_seqs, max_batch_tokens, block_manager, max_model_len)
    scheduler.add(sequence)           # raises Unschedulable if it can never run
    scheduler.cancel(request_ids)     # their blocks and slots are free on return
                                      # (distrust=True: their KV is not shared any more)
    plan = scheduler.schedule()       # a StepPlan (plan.py); plan.empty: nothing to do
    scheduler.sequence_in(slot)       # the Sequence of a plan's entry
    emitted = scheduler.advance(plan, accepted)  # accepted[i]: tokens of entry plan.samples[i]
    scheduler.propose(sequence, draft)           # tokens that may come next; before schedule()
    scheduler.stats(step_seconds, len(plan.tokens))

Calls come from one thread. Between schedule() of a plan that is not empty and its advance(), add
and cancel are allowed (what the step computes for a cancelled sequence is dropped), a second
schedule is not.

How it decides. Sequences are served strictly in order of arrival. Those that run get their
positions first: one each for a decode, the rest of the step's budget for a prefill. Then waiting
ones are admitted while the budget, the slots and the blocks last; the first that does not fit
stops the others behind it. An admitted sequence gets blocks for all its tokens, so a prefill never
waits for one; a decode at a block's end takes one more. If none is free, the sequence that came
last is preempted: it gives everything back and waits at the head of the queue, to compute its
tokens, output included, once more (mostly from the prefix cache).

What follows from it, and what the tests hold it to:
- Every running sequence arrived before every waiting one, and decoding ones before a prefilling
  one; at a step's start at most one is within its prefill, and it is the last.
- max_batch_tokens >= max_num_seqs, so each running sequence gets at least one position per step.
- The oldest sequence advances in every step: all others would be preempted for it, and add()
  refused it if it did not fit the cache alone. Hence each one ends.

A sequence can advance by several tokens in one step. Of a decoding one, tokens may be proposed as
its next (`propose`): they are computed together with its last token, as far as the budget, the
blocks and its length leave room for them after each running sequence has one position and a block
to grow; nothing is preempted for a draft. The step accepts one token more than the drafts at the
front that it confirms; one token is the case without drafts. Only then are blocks published, and
only those whose every token is accepted; what was computed of the rejected ones is taken back, and
so are the blocks that they alone needed.

To keep a newcomer from being preempted at once, it is admitted only if a block for each sequence
that runs already stays free.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Sequence as Tokens
from typing import NamedTuple

from berth.engines.host.sequence import (
    NO_SLOT,
    Sequence,
    Status,
    Unschedulable,
    finish_reason,
    limit_length,
)
from berth.engines.native.block_manager import BlockManager
from berth.engines.native.plan import StepPlan
from berth.protocol.messages import EngineStats, FinishReason


class Emitted(NamedTuple):
    """What a step added to a sequence, and whether the sequence ends with it."""

    sequence: Sequence
    tokens: list[int]  # at least one
    finish_reason: FinishReason | None


class Scheduler:
    """The engine's queue and its running set; see above."""

    def __init__(
        self,
        max_num_seqs: int,
        max_batch_tokens: int,
        block_manager: BlockManager,
        max_model_len: int,
    ) -> None:
        """Raises ValueError if a step could not give each running sequence a position."""
        if not 1 <= max_num_seqs <= max_batch_tokens:
            raise ValueError(
                f"max_num_seqs ({max_num_seqs}) must be at least 1 and at most "
                f"max_batch_tokens ({max_batch_tokens})"
            )
        self.max_num_seqs = max_num_seqs
        self.max_batch_tokens = max_batch_tokens
        self.max_model_len = max_model_len  # tokens of prompt and output together
        self.block_manager = block_manager
        self._running: list[Sequence] = []  # in order of arrival
        self._waiting: OrderedDict[int, Sequence] = OrderedDict()  # in order of arrival
        self._slots: list[Sequence | None] = [None] * max_num_seqs
        self._free_slots = list(range(max_num_seqs))  # a heap: low slots first keeps rows dense
        self._freed: list[int] = []  # slots freed since the last plan
        self._entered: list[int] = []  # request ids that got a slot since take_entered()
        # The head of the queue did not fit, and nothing has happened since to make it fit: spares
        # looking its prompt up in every step.
        self._head_blocked = False
        self._in_flight: StepPlan | None = None
        self._steps = 0
        self._arrivals = 0
        self._preemptions = 0
        self._prefix_queries = 0
        self._prefix_hits = 0

    @property
    def has_work(self) -> bool:
        """Whether schedule() would return a plan that is not empty."""
        return bool(self._running or self._waiting)

    def sequence_in(self, slot: int) -> Sequence | None:
        """The sequence that holds this slot; None if it was cancelled during the step."""
        return self._slots[slot]

    def stats(self, step_seconds: float = 0.0, tokens_in_step: int = 0) -> EngineStats:
        """Gauges and counters as they are now."""
        return EngineStats(
            running=len(self._running),
            waiting=len(self._waiting),
            blocks_used=self.block_manager.used_blocks,
            blocks_total=self.block_manager.num_blocks,
            preemptions=self._preemptions,
            prefix_queries=self._prefix_queries,
            prefix_hits=self._prefix_hits,
            step_seconds=step_seconds,
            tokens_in_step=tokens_in_step,
        )

    def take_entered(self) -> list[int]:
        """Ids of the requests that began to run (also again) since the last call."""
        entered = self._entered
        if entered:
            self._entered = []
        return entered

    def add(self, sequence: Sequence) -> FinishReason | None:
        """Queue a new sequence.

        Returns: None, or why the sequence has ended already: the emitted tokens of a replay end
            it, and nothing is left to compute.
        Raises:
            Unschedulable: it can never run here; the message is fit for the client.
            ValueError: a sequence of this id is here already.
        """
        if self._holds(sequence.request_id):
            raise ValueError(f"request {sequence.request_id} is running or waiting already")
        self._set_max_length(sequence)
        reason = finish_reason(sequence)
        if reason is not None:
            sequence.status = Status.FINISHED
            return reason
        self._arrivals += 1
        sequence.arrival = self._arrivals
        sequence.status = Status.WAITING
        self._waiting[sequence.request_id] = sequence
        return None

    def cancel(self, request_ids: Iterable[int], *, distrust: bool = False) -> list[Sequence]:
        """Drop these sequences; ids that are not here (ended already) are passed over.

        `distrust` says that their KV may be wrong (logits that are not numbers, say): no later
        sequence finds it in the prefix cache. Call it before advance() of the step that showed it.

        Returns: the dropped ones. Their blocks and slots are free already.
        """
        wanted = set(request_ids)
        dropped = [self._waiting.pop(id_) for id_ in sorted(wanted) if id_ in self._waiting]
        for sequence in dropped:
            sequence.status = Status.FINISHED
        if dropped:
            self._head_blocked = False
        running = [sequence for sequence in self._running if sequence.request_id in wanted]
        if running:
            for sequence in running:
                if distrust:
                    self.block_manager.forget(sequence.blocks)
                self._release(sequence, Status.FINISHED)
            self._drop_ended()
        return dropped + running

    def schedule(self) -> StepPlan:
        """Decide the next step. The plan is empty only if nothing runs or waits.

        Raises:
            RuntimeError: the plan before has not been given to advance().
        """
        if self._in_flight is not None:
            raise RuntimeError("schedule() before advance() of the plan before")
        plan = StepPlan.of(self._steps + 1)
        self._plan_running(plan)
        if self._waiting and not self._head_blocked:
            self._admit(plan)
        if plan.slots:
            plan.freed.extend(self._freed)
            self._freed.clear()
            self._steps += 1
            self._in_flight = plan
        return plan

    def propose(self, sequence: Sequence, draft: Tokens[int]) -> None:
        """Let these tokens, as many of them as there is room for, be computed as its next.

        A draft is good for one step. It is dropped if the sequence is not decoding by then.

        Raises:
            RuntimeError: a plan is in flight, whose tokens would come first.
        """
        if self._in_flight is not None:
            raise RuntimeError("propose() before advance() of the plan in flight")
        sequence.draft = list(draft)

    def advance(self, plan: StepPlan, accepted: Tokens[Tokens[int]]) -> list[Emitted]:
        """Take in what the step of `plan` computed: accepted[i] belongs to entry plan.samples[i].

        Args:
            accepted: of each entry the drafts that the model confirms, from the first one on, and
                the token that it gives after them. One token if there are no drafts.

        Returns: the tokens added, in order of arrival; those after a sequence's end are dropped. A
            sequence that ends has given its blocks and its slot back. Sequences cancelled during
            the step are left out.
        Raises:
            RuntimeError: `plan` is not the one that schedule() returned last.
            ValueError: not at least one token for each entry that samples, or tokens before the
                last that are not the entry's drafts: what was computed is not theirs.
        """
        if plan is not self._in_flight:
            raise RuntimeError("advance() of a plan that is not in flight")
        given = plan.given(accepted, self._slots)
        self._in_flight = None
        slots = self._slots
        block_size = self.block_manager.block_size
        caching = self.block_manager.prefix_caching
        emitted: list[Emitted] = []
        ended = False
        for slot, start, count, tokens in zip(
            plan.slots, plan.starts, plan.counts, given, strict=True
        ):
            sequence = slots[slot]
            if sequence is None:
                continue
            if tokens is None:
                reason = None
                sequence.num_computed = start + count
            else:
                kept, reason = sequence.extend(tokens)
                emitted.append(Emitted(sequence, kept, reason))
                sequence.num_computed = len(sequence.tokens) - 1
            if caching and sequence.num_computed >= (sequence.num_published + 1) * block_size:
                self._publish(sequence)
                if count > 1:  # a prompt's blocks: the head of the queue may share them now
                    self._head_blocked = False
            if sequence.scored < sequence.num_prompt:
                sequence.scored = max(sequence.scored, start + count)
            if reason is not None:
                self._release(sequence, Status.FINISHED)
                ended = True
            elif sequence.draft:
                self._drop_draft(sequence)
        if ended:
            self._drop_ended()
        return emitted

    # --- the running ones ---------------------------------------------------------------------

    def _plan_running(self, plan: StepPlan) -> None:
        """Give each running sequence its positions, and a block to those that need one."""
        running = self._running
        block_size = self.block_manager.block_size
        index = 0
        while index < len(running):  # preemption shortens it, from the end
            sequence = running[index]
            if len(sequence.tokens) > len(sequence.blocks) * block_size:
                if not self.block_manager.free_blocks:
                    self._preempt(running.pop())
                    continue
                block = self.block_manager.append()
                plan.blocks.extend((sequence.slot, len(sequence.blocks), block))
                sequence.blocks.append(block)
            drafts = self._plan_draft(plan, sequence, len(running) - index - 1)
            plan.enter(sequence, self.max_batch_tokens, drafts)
            index += 1

    def _plan_draft(self, plan: StepPlan, sequence: Sequence, later: int) -> int:
        """How many of its drafts are computed now; takes the blocks that they need.

        `later`: running sequences after this one. A position of the step and a free block are left
        to each, so that no draft keeps another sequence from advancing.
        """
        length = len(sequence.tokens)
        decodes = sequence.num_computed == length - 1 and sequence.scored >= sequence.num_prompt
        if not sequence.draft or not decodes:
            return 0
        blocks = self.block_manager
        held = len(sequence.blocks)
        reach = held + max(0, blocks.free_blocks - later)  # blocks that it could have
        drafts = min(
            len(sequence.draft),
            sequence.max_length - length - 1,  # one token more than the drafts can be accepted
            self.max_batch_tokens - len(plan.tokens) - later - 1,
            reach * blocks.block_size - length,
        )
        for at in range(held, blocks.blocks_for(length + drafts)):
            block = blocks.append()
            plan.blocks.extend((sequence.slot, at, block))
            sequence.blocks.append(block)
        return drafts

    def _drop_draft(self, sequence: Sequence) -> None:
        """Forget its drafts, and give back the blocks that none but rejected ones lie in."""
        sequence.draft = []
        needed = self.block_manager.blocks_for(len(sequence.tokens))
        if len(sequence.blocks) > needed:
            self.block_manager.free(sequence.blocks[needed:])
            del sequence.blocks[needed:]
            self._head_blocked = False

    def _preempt(self, sequence: Sequence) -> None:
        """Send the last of the running ones back to the head of the queue."""
        self._release(sequence, Status.WAITING)
        sequence.preemptions += 1
        self._preemptions += 1
        self._waiting[sequence.request_id] = sequence
        self._waiting.move_to_end(sequence.request_id, last=False)

    # --- the waiting ones ---------------------------------------------------------------------

    def _admit(self, plan: StepPlan) -> None:
        """Let waiting sequences run, in order of arrival, until something runs out."""
        while self._waiting and self._free_slots and len(plan.tokens) < self.max_batch_tokens:
            sequence = next(iter(self._waiting.values()))
            if not self._seat(sequence):
                self._head_blocked = True
                return
            del self._waiting[sequence.request_id]
            self._running.append(sequence)
            self._entered.append(sequence.request_id)
            for index, block in enumerate(sequence.blocks):
                plan.blocks.extend((sequence.slot, index, block))
            plan.enter(sequence, self.max_batch_tokens)

    def _seat(self, sequence: Sequence) -> bool:
        """Give the sequence its blocks and a slot, if the blocks suffice."""
        blocks = self.block_manager
        length = len(sequence.tokens)
        total = blocks.blocks_for(length)
        # The last token is always computed, for its logits; so are positions that are to be
        # scored. Both in blocks of the sequence's own: a shared block is never written.
        reusable = length - 1
        if sequence.scored < sequence.num_prompt:
            reusable = min(reusable, sequence.scored)
        limit = reusable // blocks.block_size
        cached = blocks.lookup(sequence.tokens, limit, sequence.root)
        if blocks.room_after(cached, total) < len(self._running):  # one each, to grow
            return False
        sequence.blocks = blocks.allocate(cached, total)
        sequence.num_published = len(cached)
        sequence.chain = blocks.chain_after(cached, sequence.root)
        sequence.num_computed = len(cached) * blocks.block_size
        if blocks.prefix_caching and not sequence.preemptions:
            sequence.cached_tokens = min(sequence.num_computed, sequence.num_prompt)
            self._prefix_queries += sequence.num_prompt
            self._prefix_hits += sequence.cached_tokens
        sequence.slot = heapq.heappop(self._free_slots)
        self._slots[sequence.slot] = sequence
        sequence.status = Status.RUNNING
        return True

    # --- small parts --------------------------------------------------------------------------

    def _holds(self, request_id: int) -> bool:
        return request_id in self._waiting or any(
            sequence.request_id == request_id for sequence in self._running
        )

    def _set_max_length(self, sequence: Sequence) -> None:
        """Say how long it may become. Raises Unschedulable if it could not be computed here."""
        limit_length(sequence, self.max_model_len)
        blocks = self.block_manager
        needed = blocks.blocks_for(sequence.max_length - 1)  # the last token is never computed
        if needed > blocks.num_blocks:
            raise Unschedulable(
                f"{sequence.num_prompt} prompt tokens and max_tokens "
                f"{sequence.params.max_tokens} need {needed} blocks of {blocks.block_size} tokens; "
                f"the cache has {blocks.num_blocks}"
            )

    def _publish(self, sequence: Sequence) -> None:
        """Publish the blocks that the last step filled."""
        size = self.block_manager.block_size
        for index in range(sequence.num_published, sequence.num_computed // size):
            tokens = sequence.tokens[index * size : (index + 1) * size]
            block = sequence.blocks[index]
            sequence.chain = self.block_manager.publish(block, sequence.chain, tokens)
        sequence.num_published = sequence.num_computed // size

    def _release(self, sequence: Sequence, status: Status) -> None:
        """Take a running sequence's blocks and slot away; the caller takes it from the list."""
        self.block_manager.free(sequence.blocks)
        sequence.blocks = []
        sequence.draft = []
        sequence.num_computed = 0
        self._slots[sequence.slot] = None
        heapq.heappush(self._free_slots, sequence.slot)
        self._freed.append(sequence.slot)
        sequence.slot = NO_SLOT
        sequence.status = status
        self._head_blocked = False

    def _drop_ended(self) -> None:
        self._running = [s for s in self._running if s.status is Status.RUNNING]
