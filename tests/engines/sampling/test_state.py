"""What is kept of a sequence for the choice of its next token."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from berth.engines.sampling.state import SamplingState
from berth.protocol.messages import SamplingParams


def kept(state: SamplingState) -> dict[int, float]:
    assert state.penalised is not None
    ids, amounts = state.penalised.ids.tolist(), state.penalised.amounts.tolist()
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, amounts, strict=True))


@pytest.mark.parametrize("spread", [1, 64, 4096, 2**20], ids="ids {} apart".format)
def test_what_is_penalised_follows_the_counts_through_every_growth(spread: int) -> None:
    """Token by token, and at once as a replay; whatever places in the table the ids share."""
    chance = np.random.default_rng(spread)
    params = SamplingParams(
        max_tokens=9, repetition_penalty=1.2, presence_penalty=0.3, frequency_penalty=0.7
    )
    prompt = [int(token) * spread for token in chance.integers(0, 400, 60)]
    output = [int(token) * spread for token in chance.zipf(1.3, 1500) % 900]
    state = SamplingState(params, prompt)
    for token in output:
        state.accept(token)
    presence, frequency = np.float32(0.3), np.float32(0.7)
    want = dict.fromkeys(prompt, 0.0) | {
        token: float(presence + frequency * np.float32(count))
        for token, count in Counter(output).items()
    }
    assert kept(state) == want
    assert kept(SamplingState(params, prompt, output)) == want
    assert state.num_output == len(output)


def test_the_prompt_is_kept_for_the_repetition_penalty_alone() -> None:
    only_output = SamplingState(SamplingParams(max_tokens=9, presence_penalty=0.5), [1, 2], [7])
    assert kept(only_output) == {7: 0.5}
    both = SamplingState(SamplingParams(max_tokens=9, repetition_penalty=1.5), [1, 2], [7])
    assert kept(both) == {1: 0.0, 2: 0.0, 7: 0.0}
