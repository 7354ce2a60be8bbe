"""What the scheduler promises of blocks: shared by prefix, given back, and fought over."""

from __future__ import annotations

import pytest

from berth.engines.host.sequence import NO_SLOT, Status
from berth.protocol.messages import EngineStats
from engines.native.scheduling import WORD, add, entries, make, step

# --- prefix sharing --------------------------------------------------------------------------


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


def test_a_prefix_under_another_root_is_computed_again_and_found_under_its_own() -> None:
    scheduler = make(block_size=4)
    plain = add(scheduler, 1, range(10, 20))
    step(scheduler)
    adapted = add(scheduler, 2, range(10, 20), root=3)
    step(scheduler)
    assert adapted.cached_tokens == 0
    assert not {*plain.blocks} & {*adapted.blocks}
    again = add(scheduler, 3, range(10, 20), root=3)
    step(scheduler)
    assert again.cached_tokens == 8
    assert again.blocks[:2] == adapted.blocks[:2]


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
        scheduler.advance(plan, [[WORD]] * len(plan.samples))
    assert scored.preemptions == 1
    assert rows == list(range(8))


# --- blocks run out --------------------------------------------------------------------------


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
    assert [token for e in emitted for token in e.tokens] == [31]
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
        scheduler.advance(plan, [[WORD]] * len(plan.samples))
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


# --- cancel ----------------------------------------------------------------------------------


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
    emitted = scheduler.advance(plan, [[WORD], [WORD]])
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
    scheduler.advance(plan, [[WORD], [WORD]])
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
