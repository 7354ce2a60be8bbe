"""What goes out with a request's first tokens goes out once, and nothing is kept of it after."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from berth.engines.host.answers import Answers
from berth.engines.host.sequence import Sequence, Unschedulable
from berth.engines.sampling.sampler import BAD_LOGITS, NO_TOKEN
from berth.protocol.messages import Delta, SamplingParams, Submit, TokenLogprob

VOCAB = 12


def message(emitted: list[int] | None = None, **params: Any) -> Submit:
    return Submit(1, [5, 6, 7], SamplingParams(max_tokens=9, **params), emitted or [])


def entered(answers: Answers, wish: Submit) -> Sequence:
    found: list[Sequence] = []
    assert answers.enter(wish, found.append) is None
    return found[0]


def test_a_replays_emitted_tokens_are_in_its_sequence_and_in_its_sampling() -> None:
    sequence = entered(Answers(), message([8, 8], presence_penalty=0.5))
    assert sequence.output == [8, 8]
    assert sequence.sampling.num_output == 2
    assert sequence.sampling.penalised is not None
    assert sequence.sampling.penalised.ids.tolist() == [8]


def test_what_cannot_run_is_the_clients_fault_and_what_went_wrong_is_not() -> None:
    def unschedulable(sequence: Sequence) -> None:
        raise Unschedulable("the prompt has 3 tokens")

    def twice(sequence: Sequence) -> None:
        raise ValueError("request 1 is running already")

    told = Answers().enter(message(), unschedulable)
    assert told == Delta(1, [], "error", error="the prompt has 3 tokens", refused=True)
    told = Answers().enter(message(), twice)
    assert told == Delta(1, [], "error", error="request 1 is running already")


def test_a_replay_that_has_ended_is_told_so() -> None:
    assert Answers().enter(message([8]), lambda sequence: "stop") == Delta(1, [], "stop")


def test_the_first_delta_has_the_wait_and_the_cached_tokens_the_second_has_not() -> None:
    answers = Answers()
    sequence = entered(answers, message())
    answers.began(1)
    sequence.cached_tokens = 2
    sequence.extend([8, 9])
    first = answers.delta(sequence, [8, 9], None, [None, None])
    assert (first.tokens, first.cached_tokens, first.logprobs) == ([8, 9], 2, None)
    assert first.waited is not None
    answers.began(1)  # after a preemption
    sequence.extend([10])
    assert answers.delta(sequence, [10], "stop", [None]) == Delta(1, [10], "stop")


def test_a_delta_has_the_logprobs_of_its_own_tokens() -> None:
    answers = Answers()
    sequence = entered(answers, message())
    entries = [TokenLogprob(8, -1.0), TokenLogprob(9, -2.0), TokenLogprob(10, -3.0)]
    sequence.extend([8, 9])
    assert answers.delta(sequence, [8, 9], "stop", entries).logprobs == entries[:2]


@pytest.mark.parametrize("chunks", [[3], [1, 2], [1, 1, 1]])
def test_prompt_logprobs_are_put_together_from_any_chunks(chunks: list[int]) -> None:
    answers = Answers()
    sequence = entered(answers, message(prompt_logprobs=1))
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(3))
    first = 0
    for count in chunks:
        answers.score(sequence, logits[first : first + count], first)
        if first:  # computed again from the start, after a preemption
            answers.score(sequence, logits[: first + count], 0)
        first += count
    sequence.extend([8])
    told = answers.delta(sequence, [8], None, [None]).prompt_logprobs
    assert told is not None
    assert told[0] is None
    want = torch.log_softmax(logits, -1)
    assert [(e.token, e.logprob, len(e.top)) for e in told[1:] if e is not None] == [
        (6, pytest.approx(float(want[0, 6])), 1),
        (7, pytest.approx(float(want[1, 7])), 1),
    ]


@pytest.mark.parametrize(("token", "refused"), [(BAD_LOGITS, False), (NO_TOKEN, True)])
def test_nothing_is_kept_of_a_request_that_failed_or_was_cancelled(
    token: int, refused: bool
) -> None:
    answers = Answers()
    sequence = entered(answers, message(prompt_logprobs=0, bad_words=((8,),)))
    answers.score(sequence, torch.zeros(3, VOCAB), 0)
    answers.began(1)
    told = answers.failed(sequence, token)
    assert (told.finish_reason, told.refused) == ("error", refused)
    again = entered(answers, message())  # the id is free again
    again.extend([8])
    last = answers.delta(again, [8], None, [None])
    assert (last.prompt_logprobs, last.waited) == (None, None)
