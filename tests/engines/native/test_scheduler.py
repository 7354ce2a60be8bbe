"""What the scheduler promises of a step, a sequence's end and its replay, one case each.

Blocks: test_scheduler_blocks. Any order of events: test_scheduler_properties.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from berth.engines.host.sequence import NO_SLOT, Sequence, Status, Unschedulable
from berth.engines.native.plan import StepPlan
from berth.engines.native.scheduler import Emitted
from berth.protocol.messages import SamplingParams
from engines.native.scheduling import STOP, WORD, add, entries, make, step

# --- continuous batching and chunked prefill -------------------------------------------------


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
    scheduler.advance(plan, [[WORD], [WORD]])
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


# --- the end of a sequence -------------------------------------------------------------------


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
    assert [token for e in emitted for token in e.tokens] == sequence.output == output
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


# --- what cannot run, and replays ------------------------------------------------------------


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
    assert [(e.tokens, e.finish_reason) for e in emitted] == [([WORD], None)]
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


# --- misuse, and the plan as a message -------------------------------------------------------


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
    with pytest.raises(ValueError, match="2 entries for 1 that sample"):
        scheduler.advance(plan, [[WORD], [WORD]])
    scheduler.advance(plan, [[WORD]])
    with pytest.raises(RuntimeError, match="not in flight"):
        scheduler.advance(plan, [[WORD]])


def test_a_plan_travels_as_one_flat_message() -> None:
    scheduler = make()
    add(scheduler, 1, range(10, 20))
    plan = scheduler.schedule()
    message = msgspec.msgpack.encode(plan)
    assert msgspec.msgpack.decode(message, type=StepPlan) == plan
    assert len(message) < 60
