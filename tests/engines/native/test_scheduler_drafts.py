"""Sequences that advance by several tokens: what is proposed, accepted, and taken back."""

from __future__ import annotations

import pytest

from berth.engines.host.sequence import Status
from engines.native.scheduling import STOP, WORD, add, entries, make, step


def test_drafts_are_computed_with_the_token_before_them_and_each_row_samples() -> None:
    scheduler = make()
    sequence = add(scheduler, 1, [10, 11])
    step(scheduler)
    scheduler.propose(sequence, [20, 21, 22])
    plan = scheduler.schedule()
    assert entries(scheduler, plan) == [(1, 2, 4)]
    assert (plan.tokens, plan.samples) == ([WORD, 20, 21, 22], [0])
    assert (plan.drafts, plan.logits) == ([3], [4])


@pytest.mark.parametrize("confirmed", [0, 1, 2, 3])
def test_a_sequence_advances_by_what_is_accepted_and_one_token_more(confirmed: int) -> None:
    scheduler = make()
    sequence = add(scheduler, 1, [10, 11])
    step(scheduler)
    scheduler.propose(sequence, [20, 21, 22])
    plan = scheduler.schedule()
    accepted = [*[20, 21, 22][:confirmed], 30]
    (emitted,) = scheduler.advance(plan, [accepted])
    assert (emitted.tokens, emitted.finish_reason) == (accepted, None)
    assert sequence.output == [WORD, *accepted]
    assert sequence.num_computed == len(sequence.tokens) - 1
    plan = scheduler.schedule()  # goes on after what was accepted, over what was rejected
    assert entries(scheduler, plan) == [(1, 3 + confirmed, 1)]
    assert plan.tokens == [30]


def test_a_block_is_found_only_when_all_its_tokens_are_accepted() -> None:
    scheduler = make(block_size=4)
    sequence = add(scheduler, 1, [10, 11], max_tokens=20)
    step(scheduler)
    scheduler.propose(sequence, [20, 21, 22, 23])
    plan = scheduler.schedule()
    blocks = scheduler.block_manager
    assert blocks.lookup([10, 11, WORD, 20], 1) == []  # in flight
    scheduler.advance(plan, [[30]])  # all rejected, though the block was computed to its end
    assert blocks.lookup([10, 11, WORD, 20], 1) == []
    step(scheduler)
    assert blocks.lookup([10, 11, WORD, 20], 1) == []
    assert blocks.lookup([10, 11, WORD, 30], 1) == sequence.blocks[:1]


def test_blocks_that_held_rejected_drafts_alone_are_given_back() -> None:
    scheduler = make(block_size=2, num_blocks=16)
    sequence = add(scheduler, 1, [10, 11], max_tokens=20)
    step(scheduler)
    assert scheduler.stats().blocks_used == 1
    scheduler.propose(sequence, [20, 21, 22, 23, 24])
    plan = scheduler.schedule()
    assert scheduler.stats().blocks_used == 4
    scheduler.advance(plan, [[20, 30]])
    assert sequence.tokens == [10, 11, WORD, 20, 30]
    assert scheduler.stats().blocks_used == 3  # one for the token that comes next
    plan = scheduler.schedule()
    assert plan.blocks == []  # the rank's table has it already


def test_a_given_back_block_is_assigned_anew_when_the_sequence_grows() -> None:
    scheduler = make(block_size=2, num_blocks=16)
    sequence = add(scheduler, 1, [10, 11], max_tokens=20)
    step(scheduler)
    scheduler.propose(sequence, [20, 21, 22, 23])
    step(scheduler, 30)
    step(scheduler, 31)
    plan = scheduler.schedule()
    assert plan.blocks == [0, 2, sequence.blocks[2]]


def test_the_end_may_come_amid_accepted_tokens() -> None:
    scheduler = make(block_size=4)
    sequence = add(scheduler, 1, [10, 11], max_tokens=20)
    step(scheduler)
    scheduler.propose(sequence, [20, STOP, 22, 23])
    plan = scheduler.schedule()
    (emitted,) = scheduler.advance(plan, [[20, STOP, 22, 23, 30]])
    assert (emitted.tokens, emitted.finish_reason) == ([20, STOP], "stop")
    assert sequence.output == [WORD, 20, STOP]
    assert sequence.status is Status.FINISHED
    assert scheduler.stats().blocks_used == 0
    again = add(scheduler, 2, [10, 11, WORD, 20, STOP, 22, 23, 30, 31])
    step(scheduler)
    assert again.cached_tokens == 4  # what came after the end is in no block that is found


def test_no_more_drafts_are_computed_than_may_still_come() -> None:
    scheduler = make()
    sequence = add(scheduler, 1, [10, 11], max_tokens=4)
    step(scheduler)
    scheduler.propose(sequence, [20, 21, 22, 23, 24])
    plan = scheduler.schedule()
    assert plan.drafts == [2]
    (emitted,) = scheduler.advance(plan, [[20, 21, 30]])
    assert emitted.finish_reason == "length"


def test_drafts_leave_a_position_to_every_running_sequence() -> None:
    scheduler = make(max_batch_tokens=6)
    first = add(scheduler, 1, [10])
    add(scheduler, 2, [11])
    add(scheduler, 3, [12])
    step(scheduler)
    scheduler.propose(first, [20, 21, 22, 23, 24])
    plan = scheduler.schedule()
    assert (plan.counts, plan.drafts) == ([4, 1, 1], [3, 0, 0])


@pytest.mark.parametrize(("num_blocks", "drafts"), [(4, 0), (5, 0), (6, 1)])
def test_drafts_leave_a_block_to_every_running_sequence(num_blocks: int, drafts: int) -> None:
    scheduler = make(block_size=2, num_blocks=num_blocks)
    first = add(scheduler, 1, [10, 11], max_tokens=4)
    second = add(scheduler, 2, [20, 21], max_tokens=4)
    step(scheduler)
    step(scheduler)  # both fill their two blocks now
    scheduler.propose(first, [30, 31, 32])
    plan, _ = step(scheduler)
    assert plan.slots == [0, 1]
    assert plan.drafts == [drafts, 0]
    assert second.preemptions == 0


def test_a_prompt_whose_rows_are_scored_has_no_drafts_yet() -> None:
    scheduler = make(max_batch_tokens=4)
    sequence = add(scheduler, 1, range(10, 15), prompt_logprobs=0)
    step(scheduler)
    scheduler.propose(sequence, [30, 31])
    plan, _ = step(scheduler)  # one position is left, whose row is the prompt's last
    assert (plan.counts, plan.logits, plan.drafts) == ([1], [1], [0])


def test_a_draft_is_good_for_one_step() -> None:
    scheduler = make(max_batch_tokens=4, max_num_seqs=4)
    first = add(scheduler, 1, [10])
    others = [add(scheduler, 2 + i, [11]) for i in range(3)]
    step(scheduler)
    scheduler.propose(first, [20])  # there is no room for it
    plan, _ = step(scheduler)
    assert plan.drafts == [0, 0, 0, 0]
    scheduler.cancel([sequence.request_id for sequence in others])
    plan, _ = step(scheduler)
    assert (plan.drafts, plan.counts) == ([0], [1])


def test_a_prompt_in_its_prefill_has_no_drafts() -> None:
    scheduler = make(max_batch_tokens=4)
    sequence = add(scheduler, 1, range(10, 20))
    step(scheduler)
    scheduler.propose(sequence, [30, 31])
    plan, _ = step(scheduler)
    assert (plan.drafts, plan.tokens) == ([0], [14, 15, 16, 17])


@pytest.mark.parametrize(
    ("accepted", "why"),
    [
        ([], "0 tokens for an entry with 2 drafts"),
        ([20, 21, 30, 31], "4 tokens for an entry with 2 drafts"),
        ([21, 30], "do not begin with the drafts"),
        ([20, 22, 30], "do not begin with the drafts"),
    ],
)
def test_tokens_that_were_not_computed_are_refused(accepted: list[int], why: str) -> None:
    scheduler = make()
    sequence = add(scheduler, 1, [10, 11])
    step(scheduler)
    scheduler.propose(sequence, [20, 21])
    plan = scheduler.schedule()
    with pytest.raises(ValueError, match=why):
        scheduler.advance(plan, [accepted])
    assert sequence.output == [WORD]
    scheduler.advance(plan, [[20, 21, 30]])  # the plan is still in flight
    assert sequence.output == [WORD, 20, 21, 30]


def test_nothing_is_proposed_for_a_step_that_is_on_its_way() -> None:
    scheduler = make()
    sequence = add(scheduler, 1, [10, 11])
    scheduler.schedule()
    with pytest.raises(RuntimeError, match="in flight"):
        scheduler.propose(sequence, [20])
