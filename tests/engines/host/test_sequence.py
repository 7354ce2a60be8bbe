"""When a sequence ends, and what a replayed one starts with."""

from __future__ import annotations

import pytest

from berth.engines.host.sequence import NO_SLOT, Sequence, Status, finish_reason
from berth.protocol.messages import SamplingParams

STOP, OTHER_STOP, PLAIN = 2, 3, 9


def ended(output: list[int], *, max_length: int = 100, min_tokens: int = 0) -> str | None:
    params = SamplingParams(
        max_tokens=100, stop_token_ids=(STOP, OTHER_STOP), min_tokens=min_tokens
    )
    sequence = Sequence(1, [STOP, STOP], params, output)
    sequence.max_length = max_length
    return finish_reason(sequence)


@pytest.mark.parametrize(
    ("output", "limits", "reason"),
    [
        pytest.param([PLAIN], {}, None, id="goes on"),
        pytest.param([PLAIN, STOP], {}, "stop", id="stop token"),
        pytest.param([OTHER_STOP], {}, "stop", id="any of the stop tokens"),
        pytest.param([STOP, PLAIN], {}, None, id="only the last token counts"),
        pytest.param([], {}, None, id="stop tokens in the prompt do not count"),
        pytest.param([], {"max_length": 2}, None, id="no output yet"),
        pytest.param([PLAIN], {"max_length": 3}, "length", id="at max_length"),
        pytest.param([PLAIN], {"max_length": 4}, None, id="one below max_length"),
        pytest.param([STOP], {"max_length": 3}, "stop", id="stop comes before length"),
        pytest.param([PLAIN, STOP], {"min_tokens": 3}, None, id="stop below min_tokens"),
        pytest.param([PLAIN, PLAIN, STOP], {"min_tokens": 3}, None, id="stop as the last of them"),
        pytest.param([PLAIN] * 3 + [STOP], {"min_tokens": 3}, "stop", id="stop after min_tokens"),
        pytest.param([STOP], {"min_tokens": 3, "max_length": 3}, "length", id="length always ends"),
    ],
)
def test_a_sequence_ends_at_a_stop_token_or_at_its_length(
    output: list[int], limits: dict[str, int], reason: str | None
) -> None:
    assert ended(output, **limits) == reason


def test_a_new_sequence_waits_and_holds_nothing() -> None:
    prompt = [5, 6, 7]
    sequence = Sequence(1, prompt, SamplingParams(max_tokens=4))
    prompt.append(8)  # the caller's list stays the caller's
    assert (sequence.tokens, sequence.num_prompt, sequence.output) == ([5, 6, 7], 3, [])
    assert (sequence.status, sequence.slot, sequence.blocks) == (Status.WAITING, NO_SLOT, [])
    assert sequence.num_computed == 0


def test_emitted_tokens_of_a_replay_are_output_from_the_start() -> None:
    sequence = Sequence(1, [5, 6], SamplingParams(max_tokens=4), [7, 8, 9])
    assert (sequence.tokens, sequence.num_prompt) == ([5, 6, 7, 8, 9], 2)
    assert (sequence.num_output, sequence.output) == (3, [7, 8, 9])
    assert sequence.num_computed == 0


@pytest.mark.parametrize(
    ("prompt_logprobs", "emitted", "scored"),
    [
        pytest.param(None, [], 3, id="not asked for"),
        pytest.param(0, [], 0, id="asked for"),
        pytest.param(2, [9], 3, id="sent before the replay"),
    ],
)
def test_prompt_logprobs_are_wanted_once(
    prompt_logprobs: int | None, emitted: list[int], scored: int
) -> None:
    params = SamplingParams(max_tokens=4, prompt_logprobs=prompt_logprobs)
    assert Sequence(1, [5, 6, 7], params, emitted).scored == scored


@pytest.mark.parametrize("root", [-1, 2**63])
def test_a_root_that_no_key_can_hold_is_refused(root: int) -> None:
    with pytest.raises(ValueError, match=rf"root is {root}"):
        Sequence(1, [5], SamplingParams(max_tokens=4), root=root)
