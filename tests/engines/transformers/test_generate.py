"""What only generate can do goes through it, and nobody else has to wait for it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from berth.engines.transformers.generate import BatchFailed
from berth.protocol.messages import GenerateParams
from engines.transformers.harness import Engine
from engines.transformers.tiny_models import EOS, VOCAB, generate_alone, make_model, random_prompt

PROMPT = random_prompt(5, 9)


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model("falcon-40b", seed=4)


WISHES = [
    {"no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 1},
    {"bad_words_ids": [[5], [7, 8], [60]]},
    {"forced_eos_token_id": EOS},
    {"num_beams": 3},
    {"num_beams": 4, "length_penalty": -2.0, "early_stopping": True},
    {"num_beams": 3, "early_stopping": "never", "no_repeat_ngram_size": 2},
]


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: "-".join(wish))
@pytest.mark.parametrize("name", ["falcon-7b", "falcon-40b"])
def test_the_answer_is_generates_own(name: str, wish: dict[str, Any]) -> None:
    model = make_model(name, seed=4)
    want = generate_alone(model, PROMPT, 20, **wish)
    engine = Engine(model)
    beside = engine.submit(random_prompt(9, 4), max_tokens=20)
    request = engine.submit(PROMPT, max_tokens=20, generate=GenerateParams(**wish))
    engine.drain()
    assert engine.tokens(request) == want[: len(engine.tokens(request))]
    assert set(want[len(engine.tokens(request)) :]) <= {EOS}  # padding
    assert engine.deltas[request][-1].finish_reason == ("stop" if EOS in want else "length")
    assert engine.tokens(beside) == generate_alone(model, random_prompt(9, 4), 20)
    assert engine.core.used == engine.core.reserved == 0


def test_the_bans_of_these_tests_change_something(model: Any) -> None:
    plain = generate_alone(model, PROMPT, 20)
    assert all(generate_alone(model, PROMPT, 20, **wish) != plain for wish in WISHES[:2])


def test_several_sequences_of_one_search_come_best_last(model: Any) -> None:
    engine = Engine(model)
    request = engine.submit(
        PROMPT, max_tokens=10, generate=GenerateParams(num_beams=4, num_return_sequences=3)
    )
    engine.drain()
    with torch.inference_mode():
        rows = model.generate(
            torch.tensor([PROMPT]), num_beams=4, num_return_sequences=3, max_new_tokens=10,
            do_sample=False, eos_token_id=EOS, pad_token_id=EOS,
        )[:, len(PROMPT) :].tolist()  # fmt: skip
    assert [delta.index for delta in engine.deltas[request]] == [2, 1, 0]
    for index, row in enumerate(rows):
        got = engine.tokens(request, index)
        assert got == row[: len(got)]
        assert set(row[len(got) :]) <= {EOS}


def test_tokens_of_a_single_sequence_leave_as_they_come(model: Any) -> None:
    engine = Engine(model)
    seen: list[int] = []
    request = engine.submit(PROMPT, generate=GenerateParams(no_repeat_ngram_size=3))
    engine.on_turn = lambda: seen.append(len(engine.tokens(request)))
    engine.drain()
    assert seen == list(range(1, len(engine.tokens(request)) + 1))


def test_the_batch_goes_on_meanwhile(model: Any) -> None:
    engine = Engine(model)
    other = engine.submit(random_prompt(1, 6), max_tokens=10)
    engine.step()
    seen: list[int] = []
    engine.on_turn = lambda: seen.append(len(engine.tokens(other)))
    engine.submit(PROMPT, max_tokens=8, generate=GenerateParams(num_beams=2))
    engine.generates.run_next()
    assert seen[:6] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("beams", [1, 4])
def test_a_cancelled_one_ends_after_its_present_token(model: Any, beams: int) -> None:
    engine = Engine(model)
    wish = GenerateParams(num_beams=beams, no_repeat_ngram_size=9)
    request = engine.submit(PROMPT, max_tokens=200, generate=wish)
    waiting = engine.submit(PROMPT, max_tokens=5, generate=wish)
    never = engine.submit(PROMPT, max_tokens=5, generate=wish)
    engine.on_turn = lambda: engine.turns == 3 and engine.generates.cancel([request, never])
    engine.generates.run_next()
    assert engine.turns == 3
    assert engine.core.reserved == 0
    assert len(engine.tokens(request)) == (3 if beams == 1 else 0)
    assert all(delta.finish_reason is None for delta in engine.deltas[request])
    engine.drain()
    assert len(engine.tokens(waiting)) == 5
    assert not engine.deltas[never]


def test_beams_take_their_memory_from_the_batch(model: Any) -> None:
    engine = Engine(model, capacity=300)
    others = [engine.submit(random_prompt(i, 20), max_tokens=30) for i in range(4)]
    while len(engine.core.running) < 4:
        engine.step()
    used: list[int] = []
    engine.on_turn = lambda: used.append(engine.core.used + engine.core.reserved)
    engine.submit(PROMPT, max_tokens=40, generate=GenerateParams(num_beams=4))
    engine.generates.run_next()
    assert max(used[1:]) <= 300
    assert engine.core.stats().preemptions > 0
    engine.drain()
    want = [generate_alone(model, random_prompt(i, 20), 30) for i in range(4)]
    assert [engine.tokens(request) for request in others] == want


def test_beams_that_need_more_than_there_is_are_refused_with_the_numbers(model: Any) -> None:
    engine = Engine(model, capacity=100)
    request = engine.submit(PROMPT, max_tokens=40, generate=GenerateParams(num_beams=4))
    assert "memory for 196 tokens, of 100" in (engine.deltas[request][0].error or "")


@pytest.mark.parametrize(
    "wish", [{"no_repeat_ngram_size": 2}, {"typical_p": 0.6}, {"num_beams": 3}], ids=str
)
def test_a_seed_repeats_whatever_else_runs(model: Any, wish: dict[str, Any]) -> None:
    settings = {"temperature": 0.8, "top_k": 30, "max_tokens": 15, "seed": 5}
    generate = GenerateParams(**wish)
    alone = Engine(model).run(PROMPT, generate=generate, **settings)
    engine = Engine(model)
    for number in range(4):
        engine.submit(random_prompt(number, 7), temperature=1.0, seed=number)
    engine.submit(random_prompt(8, 7), temperature=1.0, generate=GenerateParams(num_beams=2))
    assert engine.run(PROMPT, generate=generate, **settings) == alone
    other = engine.run(PROMPT, generate=generate, **(settings | {"seed": 6}))
    assert other != alone


def test_typical_sampling_keeps_to_generates_filter(model: Any) -> None:
    """A mass so small that one token is left: generate then has no choice, and neither have we."""
    settings = {"do_sample": True, "temperature": 0.7, "top_k": 0, "typical_p": 1e-6}
    want = generate_alone(model, PROMPT, 10, **settings)
    got = Engine(model).run(
        PROMPT, generate=GenerateParams(typical_p=1e-6), temperature=0.7, max_tokens=10
    )
    assert got == want


@pytest.mark.parametrize("penalties", [{}, {"presence_penalty": 2.0, "frequency_penalty": 1.5}])
def test_a_replay_of_a_streamed_one_tells_only_the_rest(
    model: Any, penalties: dict[str, float]
) -> None:
    settings = {"temperature": 0.8, "max_tokens": 15, "seed": 5, **penalties}
    generate = GenerateParams(no_repeat_ngram_size=3)
    want = Engine(model).run(PROMPT, generate=generate, **settings)
    assert Engine(model).run(PROMPT, generate=generate, emitted=want[:6], **settings) == want[6:]


def test_parameters_that_generate_refuses_fail_their_request_alone(model: Any) -> None:
    engine = Engine(model)
    bad = engine.submit(PROMPT, generate=GenerateParams(num_beams=2, num_return_sequences=3))
    assert engine.run(PROMPT) == generate_alone(model, PROMPT, 12)
    (delta,) = engine.deltas[bad]
    assert "generate refuses these parameters" in (delta.error or "")


def test_bans_that_leave_no_token_are_refused_and_not_blamed_on_the_model(model: Any) -> None:
    engine = Engine(model)
    words = [[token] for token in range(VOCAB)]  # generate spares the stop token
    generate = GenerateParams(bad_words_ids=words)
    bad = engine.submit(PROMPT, generate=generate, min_tokens=3)
    engine.drain()
    (delta,) = engine.deltas[bad]
    assert (delta.refused, delta.tokens) == (True, [])
    assert "leave no token that may come next" in (delta.error or "")


def test_a_failure_of_the_batch_is_not_blamed_on_the_request(model: Any) -> None:
    engine = Engine(model)
    engine.submit(PROMPT, generate=GenerateParams(no_repeat_ngram_size=2))

    def fail() -> None:
        raise ValueError("the batch is broken")

    engine.on_turn = fail
    with pytest.raises(BatchFailed, match="the batch is broken"):
        engine.generates.run_next()


def test_one_group_of_beams_is_generates_beam_search(model: Any) -> None:
    import functools

    from berth.engines.transformers.beams import diverse_beam_search

    search = functools.partial(diverse_beam_search, num_beam_groups=1, diversity_penalty=1.0)
    settings = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 12}
    common = {"do_sample": False, "eos_token_id": EOS, "pad_token_id": EOS}
    for seed in range(4):
        ids = torch.tensor([random_prompt(seed, 6)])
        with torch.inference_mode():
            want = model.generate(ids, **settings, **common)
            got = model.generate(ids, custom_generate=search, **settings, **common)
        assert got.tolist() == want.tolist()


def test_groups_of_beams_differ_from_each_other(model: Any) -> None:
    def search(penalty: float) -> list[list[int]]:
        engine = Engine(copy.deepcopy(model))
        wish = GenerateParams(
            num_beams=4, num_beam_groups=4, num_return_sequences=4, diversity_penalty=penalty
        )
        request = engine.submit(PROMPT, max_tokens=8, generate=wish)
        engine.drain()
        return [engine.tokens(request, index) for index in range(4)]

    apart, alike = search(50.0), search(1e-6)
    assert len({tokens[0] for tokens in apart}) == 4
    assert len({tuple(tokens) for tokens in alike}) == 1
