"""Any order of events: the scheduler keeps its invariants, and each sequence reads its own KV.

The key test runs every plan through `Worker`, a small model of what a rank does with nothing but
the plans: it keeps a table per slot and a cache whose cells hold, in place of keys and values,
the whole prefix that they stand for. What a position attends to must then be exactly the tokens
that the test itself knows the sequence to have, and what can be found in the prefix cache must
never hold a draft that was rejected.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import dataclass, field

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from berth.engines.host.sequence import Sequence, Status, Unschedulable
from berth.engines.native.block_manager import BlockManager
from berth.engines.native.plan import StepPlan
from berth.engines.native.scheduler import Scheduler
from berth.protocol.messages import SamplingParams

Prefix = tuple[int, ...]  # the root, negative, and tokens
STOP = 3
TOKENS = st.integers(0, STOP)


class Worker:
    """A rank: what it keeps between plans, and what it computes from one. Knows no scheduler."""

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.table: dict[tuple[int, int], int] = {}  # (slot, index) -> block
        self.cache: dict[tuple[int, int], Prefix] = {}  # (block, offset) -> the prefix it encodes
        self.steps = 0

    def _cell(self, slot: int, position: int) -> tuple[int, int]:
        block = self.table[slot, position // self.block_size]
        return block, position % self.block_size

    def run(self, message: bytes, roots: list[int]) -> list[Prefix]:
        """Compute one plan. Returns, per entry, the prefix that its last position has seen.

        `roots`: of each entry's sequence, as an adapter would shape what it computes.
        """
        plan = msgspec.msgpack.decode(message, type=StepPlan)
        assert plan.step == self.steps + 1
        self.steps = plan.step
        for slot in plan.freed:
            for key in [key for key in self.table if key[0] == slot]:
                del self.table[key]
        for at in range(0, len(plan.blocks), 3):
            slot, index, block = plan.blocks[at : at + 3]
            self.table[slot, index] = block
        work, offset = [], 0
        for slot, start, count in zip(plan.slots, plan.starts, plan.counts, strict=True):
            work.append((slot, start, plan.tokens[offset : offset + count]))
            offset += count
        assert offset == len(plan.tokens)
        for (slot, start, tokens), root in reversed(list(zip(work, roots, strict=True))):
            for position, token in enumerate(tokens, start):  # any order must do
                before = self.cache[self._cell(slot, position - 1)] if position else (-root,)
                self.cache[self._cell(slot, position)] = (*before, token)
        seen = []
        for slot, start, tokens in work:  # attention, when all have written
            end = start + len(tokens)
            prefix = self.cache[self._cell(slot, end - 1)]
            assert len(prefix) == 1 + end
            for position in range(end):
                assert self.cache[self._cell(slot, position)] == prefix[: position + 2]
            seen.append(prefix)
        written = [
            {self._cell(slot, position)[0] for position in range(start, start + len(tokens))}
            for slot, start, tokens in work
        ]
        assert sum(map(len, written)) == len(set().union(*written))  # no block written twice
        return seen


@dataclass
class Expected:
    """What the test itself knows of a request."""

    prompt: list[int]
    output: list[int]
    params: SamplingParams
    scored: list[int] = field(default_factory=list)  # prompt positions whose logits came

    def ends(self, max_model_len: int) -> str | None:
        if self.output[-1] == STOP and len(self.output) > self.params.min_tokens:
            return "stop"
        full = len(self.prompt) + len(self.output) >= max_model_len
        return "length" if full or len(self.output) >= self.params.max_tokens else None


class Engine(RuleBasedStateMachine):
    """Random requests with shared prefixes, cancels and steps, over a pool of few blocks."""

    @initialize(
        block_size=st.integers(1, 4),
        num_blocks=st.integers(3, 10),
        max_num_seqs=st.integers(2, 4),
        more_tokens=st.integers(0, 8),
        max_model_len=st.integers(8, 32),
        caching=st.sampled_from([True, True, True, False]),
    )
    def start(
        self,
        block_size: int,
        num_blocks: int,
        max_num_seqs: int,
        more_tokens: int,
        max_model_len: int,
        caching: bool,
    ) -> None:
        self.blocks = BlockManager(num_blocks, block_size, caching)
        self.budget = max_num_seqs + more_tokens
        self.scheduler = Scheduler(max_num_seqs, self.budget, self.blocks, max_model_len)
        self.max_model_len = max_model_len
        self.worker = Worker(block_size)
        self.expected: dict[int, Expected] = {}  # the live ones, in order of arrival
        self.sequences: dict[int, Sequence] = {}
        self.known: list[list[int]] = [[0, 1, 2, 0, 1, 2, 0, 1, 2, 0]]  # texts to share from
        self.last_id = 0
        # Every content that a full block may be found by: of accepted tokens alone.
        self.accepted: set[Prefix] = set()

    @rule(data=st.data(), requests=st.integers(1, 3))
    def add(self, data: st.DataObject, requests: int) -> None:
        for _ in range(requests):
            text = data.draw(st.sampled_from(self.known))
            tail = data.draw(st.lists(TOKENS, max_size=3))
            prompt = text[: data.draw(st.integers(0, 12))] + tail
            params = SamplingParams(
                max_tokens=data.draw(st.integers(1, 16)),
                min_tokens=data.draw(st.sampled_from([0, 0, 3])),
                stop_token_ids=(STOP,),
                prompt_logprobs=data.draw(st.sampled_from([None, None, None, 0])),
            )
            emitted = data.draw(st.sampled_from([[], [], [], [1], [0, 1, 2, 0], [1, STOP]]))
            self.add_one(prompt, params, emitted, data.draw(st.sampled_from([0, 0, 1])))

    def add_one(
        self, prompt: list[int], params: SamplingParams, output: list[int], root: int
    ) -> None:
        self.last_id += 1
        sequence = Sequence(self.last_id, prompt, params, output, root)
        length = min(len(prompt) + params.max_tokens, self.max_model_len)
        impossible = (
            not prompt
            or len(prompt) >= self.max_model_len
            or self.blocks.blocks_for(length - 1) > self.blocks.num_blocks
        )
        expected = Expected(prompt, list(output), params)
        try:
            reason = self.scheduler.add(sequence)
        except Unschedulable:
            assert impossible
            return
        assert not impossible
        assert reason == (expected.ends(self.max_model_len) if output else None)
        if reason is None:
            self.expected[self.last_id] = expected
            self.sequences[self.last_id] = sequence

    @rule(data=st.data(), in_flight=st.booleans(), distrust=st.booleans())
    @precondition(lambda self: self.expected)
    def cancel(self, data: st.DataObject, in_flight: bool, distrust: bool) -> None:
        live = st.sampled_from(list(self.expected))
        ids = data.draw(st.lists(live, min_size=1, max_size=2, unique=True))
        if in_flight:
            self.step_with(0, ids)
            return
        dropped = self.scheduler.cancel([*ids, -1], distrust=distrust)
        assert {sequence.request_id for sequence in dropped} == set(ids)
        self.forget(ids)

    @rule(seeds=st.lists(st.integers(0, 999), min_size=1, max_size=8))
    @precondition(lambda self: self.expected)
    def step(self, seeds: list[int]) -> None:
        for seed in seeds:
            self.step_with(seed, [])
            self.bookkeeping()

    def forget(self, ids: list[int]) -> None:
        """These have ended: whatever they had is free at once."""
        for id_ in ids:
            sequence = self.sequences.pop(id_)
            assert sequence.status is Status.FINISHED
            assert not sequence.blocks
            self.known = [*self.known[:1], *self.known[-4:], sequence.tokens]
            del self.expected[id_]

    def step_with(self, seed: int, cancelled: list[int]) -> None:
        """One step: plan, compute, compare with what is known, advance.

        `seed` decides the tokens sampled, those proposed, and how many of these are accepted.
        `cancelled` end during the step.
        """
        chance = random.Random(seed)
        for sequence in self.scheduler._running:
            if chance.random() < 0.5:
                draft = [chance.randrange(STOP + 1) for _ in range(chance.randrange(7))]
                self.scheduler.propose(sequence, draft)
        plan = self.scheduler.schedule()
        assert plan.empty == (not self.expected)
        if plan.empty:
            return
        batch = [self.scheduler.sequence_in(slot) for slot in plan.slots]
        self.check_plan(plan, batch)
        roots = [sequence.root for sequence in batch if sequence]
        seen = self.worker.run(msgspec.msgpack.encode(plan), roots)
        ends = []
        for entry, sequence in enumerate(batch):
            assert sequence is not None
            expected = self.expected[sequence.request_id]
            drafts = plan.drafts[entry]
            tokens = expected.prompt + expected.output
            end = plan.starts[entry] + plan.counts[entry]
            assert seen[entry] == (-sequence.root, *[*tokens, *sequence.draft[:drafts]][:end])
            assert (entry in plan.samples) == (end == len(tokens) + drafts)
            assert plan.logits[entry] >= (entry in plan.samples) + drafts
            rows = range(end - plan.logits[entry], end)
            assert rows.start >= plan.starts[entry]
            expected.scored += [row for row in rows if row < len(expected.prompt)]
        self.scheduler.cancel(cancelled)
        self.forget(cancelled)
        accepted = []
        for entry in plan.samples:
            sequence = batch[entry]
            assert sequence is not None
            confirmed = chance.randint(0, plan.drafts[entry])
            draw = (seed * (entry + 7)) % 11
            accepted.append([*sequence.draft[:confirmed], STOP if draw == 10 else draw % 3])
        emitted = iter(self.scheduler.advance(plan, accepted))
        for entry, given in zip(plan.samples, accepted, strict=True):
            sequence = batch[entry]
            assert sequence is not None
            if sequence.request_id not in self.expected:
                continue
            expected = self.expected[sequence.request_id]
            before = len(expected.output)
            reason = None
            for token in given:
                expected.output.append(token)
                reason = expected.ends(self.max_model_len)
                if reason:
                    break
            assert sequence.output == expected.output
            assert next(emitted) == (sequence, expected.output[before:], reason)
            if not before and expected.params.prompt_logprobs is not None:
                assert expected.scored == list(range(len(expected.prompt)))
            if reason:
                ends.append(sequence.request_id)
        assert next(emitted, None) is None
        for sequence in batch:
            assert sequence is not None
            self.accept(sequence)
        self.forget(ends)
        self.check_published()

    def accept(self, sequence: Sequence) -> None:
        size = self.blocks.block_size
        for end in range(size, len(sequence.tokens) + 1, size):
            self.accepted.add((-sequence.root, *sequence.tokens[:end]))

    def check_published(self) -> None:
        """What can be found holds, cell by cell, the KV of tokens that were all accepted."""
        size = self.blocks.block_size
        for key, block in self.blocks._published.items():
            _, *tokens = struct.unpack(f"={size + 1}q", key)
            content = self.worker.cache[block, size - 1]
            assert content in self.accepted
            assert list(content[-size:]) == tokens
            for offset in range(size):
                assert (
                    self.worker.cache[block, offset] == content[: len(content) - size + 1 + offset]
                )

    def check_plan(self, plan: StepPlan, batch: list[Sequence | None]) -> None:
        """What a plan promises apart from the KV itself."""
        assert len(plan.tokens) == sum(plan.counts) <= self.budget
        assert min(plan.counts) >= 1
        assert len(set(plan.slots)) == len(plan.slots)
        ids = [sequence.request_id for sequence in batch if sequence]
        # The oldest of all advances; no one overtakes; whoever runs is in the batch.
        assert ids == list(self.expected)[: len(ids)]
        assert batch == self.scheduler._running
        for sequence, start, count, drafts in zip(
            batch, plan.starts, plan.counts, plan.drafts, strict=True
        ):
            assert sequence is not None
            assert 0 <= drafts < count
            # What the step may add at most is no more than it may have.
            assert start + count < sequence.max_length or not drafts
            first = start // self.blocks.block_size
            last = (start + count - 1) // self.blocks.block_size
            for block in sequence.blocks[first : last + 1]:
                assert self.blocks._references[block] == 1  # what is written is not shared
                assert self.blocks._keys[block] is None  # nor can it be found yet

    @invariant()
    def bookkeeping(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        scheduler, blocks = self.scheduler, self.blocks
        running, waiting = scheduler._running, list(scheduler._waiting.values())
        assert [s.request_id for s in running + waiting] == list(self.expected)
        held = Counter(block for sequence in running for block in sequence.blocks)
        assert [held[block] for block in range(blocks.num_blocks)] == blocks._references
        assert sorted([*blocks._unused, *blocks._cold, *held]) == list(range(blocks.num_blocks))
        assert all((blocks._keys[block] is not None) for block in blocks._cold)
        assert {key: block for block, key in enumerate(blocks._keys) if key} == blocks._published
        for sequence in running:
            assert sequence.status is Status.RUNNING
            assert scheduler._slots[sequence.slot] is sequence
            assert 0 <= sequence.num_computed < len(sequence.tokens)
            assert len(sequence.blocks) * blocks.block_size >= sequence.num_computed
        for sequence in waiting:
            assert sequence.status is Status.WAITING
            assert (sequence.slot, sequence.blocks, sequence.num_computed) == (-1, [], 0)
        taken = [sequence.slot for sequence in running]
        assert sorted(taken + scheduler._free_slots) == list(range(scheduler.max_num_seqs))
        for sequence in running:  # no block is kept for what was rejected
            assert len(sequence.blocks) <= blocks.blocks_for(len(sequence.tokens))
            assert not sequence.draft
        remaining = [len(sequence.tokens) - sequence.num_computed for sequence in running]
        assert all(left == 1 for left in remaining[:-1])  # only the last may be in its prefill
        stats = scheduler.stats()
        assert (stats.running, stats.waiting) == (len(running), len(waiting))
        assert stats.blocks_used == len(held)
        assert stats.prefix_hits <= stats.prefix_queries
        if not blocks.prefix_caching:
            assert stats.prefix_hits == 0

    def teardown(self) -> None:
        """When nothing new arrives all end, in as many steps as they have positions at most."""
        if not hasattr(self, "scheduler"):
            return
        bound = sum(len(e.prompt) + e.params.max_tokens for e in self.expected.values())
        while self.expected:
            assert bound > 0
            bound -= 1
            self.step_with(bound, [])
            self.bookkeeping()
        assert not self.scheduler.has_work
        assert self.blocks.free_blocks == self.blocks.num_blocks


TestEngine = Engine.TestCase
TestEngine.settings = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
