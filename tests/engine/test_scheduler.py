"""What the scheduler promises, one case each. Any order of events: test_scheduler_properties."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from berth.engine.block_manager import BlockManager
from berth.engine.plan import StepPlan
from berth.engine.scheduler import Emitted, Scheduler, Unschedulable
from berth.engine.sequence import NO_SLOT, Sequence, Status
from berth.protocol.messages import EngineStats, SamplingParams

WORD, STOP = 9, 2


def make(
    *,
    max_num_seqs: int = 4,
    max_batch_tokens: int = 16,
    num_blocks: int = 32,
    block_size: int = 4,
    max_model_len: int = 64,
    prefix_caching: bool = True,
) -> Scheduler:
    blocks = BlockManager(num_blocks, block_size, prefix_caching)
    return Scheduler(max_num_seqs, max_batch_tokens, blocks, max_model_len)


def add(
    scheduler: Scheduler,
    request_id: int,
    prompt: list[int] | range,
    *,
    emitted: list[int] | None = None,
    **params: Any,
) -> Sequence:
    params = {"max_tokens": 8, "stop_token_ids": (STOP,), **params}
    sequence = Sequence(request_id, prompt, SamplingParams(**params), emitted or [])
    assert scheduler.add(sequence) is None
    return sequence


def step(scheduler: Scheduler, token: int = WORD) -> tuple[StepPlan, list[Emitted]]:
    plan = scheduler.schedule()
    return plan, scheduler.advance(plan, [token] * len(plan.samples))


def entries(scheduler: Scheduler, plan: StepPlan) -> list[tuple[int, int, int]]:
    """(request id, start, count) of each entry; to be called before advance."""
    found = []
    for slot, start, count in zip(plan.slots, plan.starts, plan.counts, strict=True):
        sequence = scheduler.sequence_in(slot)
        assert sequence is not None
        found.append((sequence.request_id, start, count))
    return found


# --- continuous batching and chunked prefill --------------------------------------------------


def test_a_prompt_is_computed_in_chunks_and_only_the_last_one_samples() -> None:
    scheduler = make(max_batch_tokens=4)
    sequence = add(scheduler, 1, range(10, 20))
    shapes = []
    for _ in range(4):
        plan, emitted = step(scheduler)
        shapes.append((plan.starts, plan.counts, plan.tokens, plan.logits, plan.samples))
        assert len(emitted) == len(plan.samples)
    assert shapes == [
        ([0], [4], [10, 11, 12, 13], [0], []),
        ([4], [4], [14, 15, 16, 17], [0], []),
        ([8], [2], [18, 19], [1], [0]),
        ([10], [1], [WORD], [1], [0]),
    ]
    assert sequence.output == [WORD, WORD]


def test_decodes_go_first_and_a_prefill_gets_the_rest_of_the_budget() -> None:
    scheduler = make(max_batch_tokens=8)
    add(scheduler, 1, [5, 6])
    add(scheduler, 2, [7])
    step(scheduler)
    add(scheduler, 3, range(20, 40))
    plan = scheduler.schedule()
    assert entries(scheduler, plan) == [(1, 2, 1), (2, 1, 1), (3, 0, 6)]
    assert plan.tokens == [WORD, WORD, *range(20, 26)]
    assert plan.samples == [0, 1]
    scheduler.advance(plan, [WORD, WORD])
    add(scheduler, 4, [8])  # may not take the budget of the prefill before it
    plan = scheduler.schedule()
    assert entries(scheduler, plan) == [(1, 3, 1), (2, 2, 1), (3, 6, 6)]


def test_the_budget_that_a_last_chunk_leaves_admits_the_next_ones() -> None:
    scheduler = make(max_batch_tokens=8)
    add(scheduler, 1, range(10, 13))
    add(scheduler, 2, range(20, 22))
    add(scheduler, 3, range(30, 36))
    plan = scheduler.schedule()
    assert entries(scheduler, plan) == [(1, 0, 3), (2, 0, 2), (3, 0, 3)]
    assert plan.samples == [0, 1]


def test_no_more_sequences_run_than_there_are_slots() -> None:
    scheduler = make(max_num_seqs=2)
    for request_id in range(3):
        add(scheduler, request_id, [request_id + 20], max_tokens=1 + request_id)
    plan, emitted = step(scheduler)
    assert plan.slots == [0, 1]
    assert [(e.sequence.request_id, e.finish_reason) for e in emitted] == [(0, "length"), (1, None)]
    plan = scheduler.schedule()
    assert (plan.freed, plan.slots) == ([0], [1, 0])  # the third takes the slot of the first
    assert entries(scheduler, plan)[1] == (2, 0, 1)


def test_blocks_are_announced_once_each() -> None:
    scheduler = make(block_size=2)
    sequence = add(scheduler, 1, [5, 6, 7])
    assert step(scheduler)[0].blocks == [0, 0, 0, 0, 1, 1]
    assert step(scheduler)[0].blocks == []  # position 3 is in the second block
    assert step(scheduler)[0].blocks == [0, 2, 2]
    assert sequence.blocks == [0, 1, 2]


# --- the end of a sequence --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "token", "max_model_len", "output", "reason"),
    [
        pytest.param({"max_tokens": 2}, WORD, 64, [WORD, WORD], "length", id="max_tokens"),
        pytest.param({}, STOP, 64, [STOP], "stop", id="stop token, kept"),
        pytest.param({"min_tokens": 3}, STOP, 64, [STOP] * 4, "stop", id="min_tokens"),
        pytest.param({}, WORD, 5, [WORD, WORD], "length", id="max_model_len"),
    ],
)
def test_a_sequence_ends_and_gives_everything_back(
    params: dict[str, Any], token: int, max_model_len: int, output: list[int], reason: str
) -> None:
    scheduler = make(max_model_len=max_model_len)
    sequence = add(scheduler, 1, [5, 6, 7], **params)
    emitted: list[Emitted] = []
    while scheduler.has_work:
        emitted += step(scheduler, token)[1]
    assert [e.token for e in emitted] == sequence.output == output
    assert [e.finish_reason for e in emitted] == [None] * (len(output) - 1) + [reason]
    assert (sequence.status, sequence.slot, sequence.blocks) == (Status.FINISHED, NO_SLOT, [])
    assert scheduler.stats().blocks_used == 0
    assert scheduler.schedule().empty


def test_a_freed_slot_is_told_with_the_next_plan_even_after_a_pause() -> None:
    scheduler = make()
    add(scheduler, 1, [5], max_tokens=1)
    step(scheduler)
    assert scheduler.schedule().empty  # an engine drops it
    add(scheduler, 2, [6])
    plan, _ = step(scheduler)
    assert (plan.step, plan.freed, plan.slots) == (2, [0], [0])
    assert step(scheduler)[0].freed == []


# --- prefix sharing ---------------------------------------------------------------------------


def test_a_known_prefix_is_shared_and_not_computed_again() -> None:
    scheduler = make(block_size=4)
    first = add(scheduler, 1, range(10, 20))
    step(scheduler)
    second = add(scheduler, 2, [*range(10, 18), 88, 89, 90])
    plan = scheduler.schedule()
    assert entries(scheduler, plan) == [(1, 10, 1), (2, 8, 3)]
    assert plan.tokens == [WORD, 88, 89, 90]
    assert second.blocks[:2] == first.blocks[:2]
    assert second.cached_tokens == 8
    assert plan.blocks == [1, 0, 0, 1, 1, 1, 1, 2, 3]  # the whole table of the new slot
    stats = scheduler.stats()
    assert (stats.prefix_queries, stats.prefix_hits) == (21, 8)


def test_the_last_token_is_computed_in_a_block_of_its_own_even_if_all_is_known() -> None:
    scheduler = make(block_size=4)
    first = add(scheduler, 1, range(10, 18))
    step(scheduler)
    second = add(scheduler, 2, range(10, 18))
    plan = scheduler.schedule()
    assert entries(scheduler, plan)[1] == (2, 4, 4)
    assert plan.samples == [0, 1]
    assert second.blocks[0] == first.blocks[0]
    assert second.blocks[1] != first.blocks[1]


def test_a_block_is_not_shared_before_its_step_is_done() -> None:
    scheduler = make(block_size=4)
    first = add(scheduler, 1, range(10, 20))
    second = add(scheduler, 2, range(10, 20))
    scheduler.schedule()
    assert not {*first.blocks} & {*second.blocks}
    assert second.cached_tokens == 0


def test_output_is_found_by_the_next_turn_of_the_dialog() -> None:
    scheduler = make(block_size=4)
    first = add(scheduler, 1, range(10, 14), max_tokens=6)
    while scheduler.has_work:
        step(scheduler)
    second = add(scheduler, 2, [*first.tokens, 50, 51])
    step(scheduler)
    assert second.cached_tokens == 8


def test_prompt_logprobs_get_every_row_whatever_is_cached() -> None:
    scheduler = make(block_size=4, max_batch_tokens=6)
    add(scheduler, 1, range(10, 20))
    step(scheduler)
    step(scheduler)
    scored = add(scheduler, 2, range(10, 20), prompt_logprobs=0)
    rows = []
    for _ in range(3):
        plan, _ = step(scheduler)
        rows.append((plan.starts[1], plan.counts[1], plan.logits[1]))
    assert rows == [(0, 5, 5), (5, 5, 5), (10, 1, 1)]
    assert scored.cached_tokens == 0


@pytest.mark.parametrize("prefix_caching", [True, False])
def test_prompt_logprobs_are_asked_for_once_even_if_preempted(prefix_caching: bool) -> None:
    scheduler = make(
        num_blocks=6,
        block_size=2,
        max_batch_tokens=3,
        max_num_seqs=2,
        prefix_caching=prefix_caching,
    )
    add(scheduler, 1, [10, 11], max_tokens=6)
    scored = add(scheduler, 2, range(20, 28), max_tokens=1, prompt_logprobs=0)
    rows: list[int] = []
    while scheduler.has_work:
        plan = scheduler.schedule()
        for entry, (request_id, start, count) in enumerate(entries(scheduler, plan)):
            if request_id == 2:
                rows += range(start + count - plan.logits[entry], start + count)
        scheduler.advance(plan, [WORD] * len(plan.samples))
    assert scored.preemptions == 1
    assert rows == list(range(8))


# --- blocks run out ---------------------------------------------------------------------------


def test_the_last_to_arrive_is_preempted_and_resumes_with_its_output() -> None:
    scheduler = make(num_blocks=5, block_size=2, prefix_caching=False)
    first = add(scheduler, 1, [10, 11, 12])
    second = add(scheduler, 2, [20], max_tokens=6)
    for _ in range(4):
        assert step(scheduler)[0].slots == [0, 1]
    assert scheduler.stats().blocks_used == 5
    plan, _ = step(scheduler)  # the first needs a fourth block
    assert (plan.slots, plan.freed) == ([0], [1])
    assert (second.status, second.slot, second.blocks) == (Status.WAITING, NO_SLOT, [])
    assert second.output == [WORD] * 4
    assert scheduler.stats() == EngineStats(
        running=1, waiting=1, blocks_used=4, blocks_total=5, preemptions=1
    )
    while first.status is not Status.FINISHED:
        assert step(scheduler, 30)[0].slots == [0]
    plan, emitted = step(scheduler, 31)
    assert (plan.starts, plan.tokens) == ([0], [20, WORD, WORD, WORD, WORD])
    assert second.output == [WORD, WORD, WORD, WORD, 31]  # nothing sampled twice
    assert [e.token for e in emitted] == [31]
    step(scheduler, 32)
    assert second.status is Status.FINISHED


def test_a_preempted_sequence_finds_its_own_blocks_again() -> None:
    scheduler = make(num_blocks=6, block_size=2)
    first = add(scheduler, 1, [10, 11, 12, 13], max_tokens=4)
    second = add(scheduler, 2, [20, 21, 22], max_tokens=7)
    while not scheduler.stats().preemptions:
        step(scheduler)
    assert first.preemptions == 0
    assert second.preemptions == 1
    while second.status is Status.WAITING:
        step(scheduler)
    assert first.status is Status.FINISHED
    assert second.num_computed == len(second.tokens) - 1
    assert second.cached_tokens == 0  # what its prompt found when it first came
    assert scheduler.stats().prefix_queries == 7


def test_a_preempted_sequence_goes_before_those_that_never_ran() -> None:
    scheduler = make(num_blocks=4, block_size=2, max_num_seqs=2, prefix_caching=False)
    add(scheduler, 1, [10, 11, 12], max_tokens=5)
    add(scheduler, 2, [20], max_tokens=5)
    third = add(scheduler, 3, [30], max_tokens=1)
    order: list[int] = []
    while scheduler.has_work:
        plan = scheduler.schedule()
        order += [request_id for request_id, start, _ in entries(scheduler, plan) if start == 0]
        scheduler.advance(plan, [WORD] * len(plan.samples))
    assert order == [1, 2, 2, 3]
    assert third.num_output == 1


def test_nobody_overtakes_a_sequence_that_waits_for_blocks() -> None:
    scheduler = make(num_blocks=5, block_size=4)
    add(scheduler, 1, range(10, 16), max_tokens=3)
    add(scheduler, 2, range(20, 32), max_tokens=2)  # 3 blocks; of 3 free, 1 is for the first
    add(scheduler, 3, [30], max_tokens=1)  # would fit
    assert step(scheduler)[0].slots == [0]
    step(scheduler)
    step(scheduler)
    plan = scheduler.schedule()
    assert entries(scheduler, plan) == [(2, 0, 12), (3, 0, 1)]


def test_a_newcomer_must_leave_a_block_for_each_that_runs() -> None:
    scheduler = make(num_blocks=4, block_size=4, max_num_seqs=3)
    add(scheduler, 1, [10], max_tokens=3)
    add(scheduler, 2, range(20, 28))
    late = add(scheduler, 3, [30])
    assert step(scheduler)[0].slots == [0, 1]  # 1 + 2 blocks, 1 left for the first to grow
    assert late.status is Status.WAITING
    step(scheduler)
    step(scheduler)
    assert late.status is Status.WAITING
    # The second has taken the last block; the first's own one is free now, and one runs.
    step(scheduler)
    assert late.status is Status.WAITING


def test_a_sequence_that_runs_alone_may_use_every_block() -> None:
    scheduler = make(num_blocks=3, block_size=4, max_model_len=64)
    sequence = add(scheduler, 1, range(10, 22), max_tokens=1)
    assert step(scheduler)[0].counts == [12]
    assert sequence.status is Status.FINISHED


def test_a_waiting_sequence_is_looked_at_again_once_its_prefix_is_known() -> None:
    scheduler = make(num_blocks=8, block_size=4, max_batch_tokens=24)
    add(scheduler, 1, range(10, 30))
    second = add(scheduler, 2, range(10, 30))  # 5 blocks more; 3 are free
    assert step(scheduler)[0].slots == [0]
    assert step(scheduler)[0].slots == [0, 1]  # 1 block more
    assert second.cached_tokens == 16


# --- cancel -----------------------------------------------------------------------------------


def test_cancel_frees_blocks_and_slot_at_once() -> None:
    scheduler = make()
    running, other = add(scheduler, 1, [10, 11]), add(scheduler, 2, [20])
    step(scheduler)
    waiting = add(scheduler, 3, [30])
    assert scheduler.cancel([1, 3, 99]) == [waiting, running]
    assert running.status is waiting.status is Status.FINISHED
    assert running.blocks == []
    stats = scheduler.stats()
    assert (stats.running, stats.waiting, stats.blocks_used) == (1, 0, 1)
    plan, emitted = step(scheduler)
    assert (plan.freed, plan.slots) == ([0], [1])
    assert [e.sequence for e in emitted] == [other]
    assert scheduler.cancel([1, 3]) == []


def test_what_a_step_computes_for_a_cancelled_sequence_is_dropped() -> None:
    scheduler = make(block_size=2)
    cancelled, other = add(scheduler, 1, [10, 11, 12]), add(scheduler, 2, [20])
    plan = scheduler.schedule()
    scheduler.cancel([1])
    assert scheduler.stats().blocks_used == 1
    again = add(scheduler, 1, [10, 11, 12])  # the id is free too
    emitted = scheduler.advance(plan, [WORD, WORD])
    assert [e.sequence for e in emitted] == [other]
    assert cancelled.output == []
    plan = scheduler.schedule()
    assert (plan.freed, plan.slots, plan.starts) == ([0], [1, 0], [1, 0])
    assert again.cached_tokens == 0  # nothing of the dropped step was published


def test_kv_that_is_not_trusted_is_found_by_nobody() -> None:
    scheduler = make(block_size=2)
    add(scheduler, 1, range(10, 16))
    step(scheduler)
    add(scheduler, 2, [*range(10, 16), 17, 18, 19])
    plan = scheduler.schedule()
    scheduler.cancel([2], distrust=True)  # its prefix is the first one's too
    scheduler.advance(plan, [WORD, WORD])
    assert scheduler.stats().blocks_used == 4
    third = add(scheduler, 3, [*range(10, 16), 17, 18, 19])
    step(scheduler)
    assert third.cached_tokens == 0
    scheduler.cancel([1, 3])
    assert scheduler.stats().blocks_used == 0


def test_cancelling_the_head_of_the_queue_lets_the_next_one_in() -> None:
    scheduler = make(num_blocks=4, block_size=4)
    add(scheduler, 1, range(10, 16))
    add(scheduler, 2, range(20, 32), max_tokens=1)
    third = add(scheduler, 3, [30])
    for _ in range(2):
        assert step(scheduler)[0].slots == [0]
    scheduler.cancel([2])
    assert step(scheduler)[0].slots == [0, 1]
    assert third.num_output == 1


# --- what cannot run, and replays -------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "message"),
    [
        pytest.param([], 1, "the prompt has no tokens", id="empty prompt"),
        pytest.param([1], 0, "max_tokens is 0; it must be at least 1", id="no output"),
        pytest.param([1] * 20, 1, "20 tokens.*at most 19", id="prompt beyond the model"),
        pytest.param([1] * 12, 6, "12 prompt.*max_tokens 6 need 5 blocks.*has 4", id="blocks"),
    ],
)
def test_what_can_never_run_is_refused_with_the_numbers(
    prompt: list[int], max_tokens: int, message: str
) -> None:
    scheduler = make(num_blocks=4, block_size=4, max_model_len=20)
    sequence = Sequence(1, prompt, SamplingParams(max_tokens=max_tokens))
    with pytest.raises(Unschedulable, match=message):
        scheduler.add(sequence)
    assert not scheduler.has_work


def test_what_just_fits_runs_to_its_end() -> None:
    scheduler = make(num_blocks=4, block_size=4, max_model_len=20)
    sequence = add(scheduler, 1, [1] * 12, max_tokens=5)
    while scheduler.has_work:
        step(scheduler)
    assert sequence.num_output == 5


def test_an_id_that_is_here_already_is_refused() -> None:
    scheduler = make()
    add(scheduler, 1, [5])
    for _ in range(2):  # waiting, then running
        with pytest.raises(ValueError, match="request 1 is running or waiting already"):
            scheduler.add(Sequence(1, [6], SamplingParams(max_tokens=1)))
        step(scheduler)


def test_a_replay_computes_what_was_emitted_and_goes_on_after_it() -> None:
    scheduler = make()
    sequence = add(scheduler, 1, [10, 11], emitted=[12, 13], max_tokens=4)
    plan, emitted = step(scheduler)
    assert (plan.tokens, plan.samples) == ([10, 11, 12, 13], [0])
    assert [(e.token, e.finish_reason) for e in emitted] == [(WORD, None)]
    assert step(scheduler)[1][0].finish_reason == "length"
    assert sequence.output == [12, 13, WORD, WORD]


@pytest.mark.parametrize(("emitted", "reason"), [([12, STOP], "stop"), ([12, 13, 14], "length")])
def test_a_replay_that_had_ended_is_not_computed(emitted: list[int], reason: str) -> None:
    scheduler = make()
    params = SamplingParams(max_tokens=3, stop_token_ids=(STOP,))
    sequence = Sequence(1, [10], params, emitted)
    assert scheduler.add(sequence) == reason
    assert sequence.status is Status.FINISHED
    assert not scheduler.has_work


# --- misuse, and the plan as a message --------------------------------------------------------


@pytest.mark.parametrize(("max_num_seqs", "max_batch_tokens"), [(0, 4), (5, 4)])
def test_a_step_must_have_a_position_for_each_sequence(
    max_num_seqs: int, max_batch_tokens: int
) -> None:
    with pytest.raises(ValueError, match="max_num_seqs"):
        make(max_num_seqs=max_num_seqs, max_batch_tokens=max_batch_tokens)


def test_steps_are_taken_one_at_a_time_and_in_order() -> None:
    scheduler = make()
    add(scheduler, 1, [5])
    plan = scheduler.schedule()
    with pytest.raises(RuntimeError, match="before advance"):
        scheduler.schedule()
    with pytest.raises(ValueError, match="2 tokens for 1 entries"):
        scheduler.advance(plan, [WORD, WORD])
    scheduler.advance(plan, [WORD])
    with pytest.raises(RuntimeError, match="not in flight"):
        scheduler.advance(plan, [WORD])


def test_a_plan_travels_as_one_flat_message() -> None:
    scheduler = make()
    add(scheduler, 1, range(10, 20))
    plan = scheduler.schedule()
    message = msgspec.msgpack.encode(plan)
    assert msgspec.msgpack.decode(message, type=StepPlan) == plan
    assert len(message) < 60
