"""A scheduler to try, and its plans in a form that is easy to compare."""

from __future__ import annotations

from typing import Any

from berth.engines.host.sequence import Sequence
from berth.engines.native.block_manager import BlockManager
from berth.engines.native.plan import StepPlan
from berth.engines.native.scheduler import Emitted, Scheduler
from berth.protocol.messages import SamplingParams

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
    root: int = 0,
    **params: Any,
) -> Sequence:
    params = {"max_tokens": 8, "stop_token_ids": (STOP,), **params}
    sequence = Sequence(request_id, prompt, SamplingParams(**params), emitted or [], root)
    assert scheduler.add(sequence) is None
    return sequence


def step(scheduler: Scheduler, token: int = WORD) -> tuple[StepPlan, list[Emitted]]:
    plan = scheduler.schedule()
    return plan, scheduler.advance(plan, [[token]] * len(plan.samples))


def entries(scheduler: Scheduler, plan: StepPlan) -> list[tuple[int, int, int]]:
    """(request id, start, count) of each entry; to be called before advance."""
    found = []
    for slot, start, count in zip(plan.slots, plan.starts, plan.counts, strict=True):
        sequence = scheduler.sequence_in(slot)
        assert sequence is not None
        found.append((sequence.request_id, start, count))
    return found
