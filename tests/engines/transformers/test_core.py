"""The batch: memory, cancellation, seeds, logprobs and replays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engines.transformers.harness import Engine
from engines.transformers.tiny_models import EOS, VOCAB, generate_alone, make_model, random_prompt

PROMPTS = [random_prompt(20 + i, 3 + 4 * i) for i in range(8)]


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model("falcon-7b", seed=3)


def cache_bytes(engine: Engine) -> int:
    return sum(
        layer.keys.numel() + layer.values.numel()
        for lane in engine.core._lanes
        for layer in lane.state["past_key_values"].layers
    )


def test_cancelled_ones_free_their_memory_within_one_step(model: Any) -> None:
    want = generate_alone(model, PROMPTS[0], 30)
    engine = Engine(model)
    requests = [engine.submit(prompt, max_tokens=30) for prompt in PROMPTS]
    while len(engine.core.running) < len(PROMPTS):
        engine.step()
    before, before_bytes = engine.core.used, cache_bytes(engine)
    engine.core.cancel(requests[1:])
    said = {request: len(engine.deltas[request]) for request in requests[1:]}
    assert [s.request_id for s in engine.core.running] == requests[:1]
    assert engine.core.used < before / 8
    assert cache_bytes(engine) < before_bytes / 8  # the padding that only they needed, too
    engine.drain()
    assert engine.tokens(requests[0]) == want
    assert {request: len(engine.deltas[request]) for request in said} == said
    assert engine.core.used == 0


def test_one_that_waits_or_is_half_computed_can_be_cancelled(model: Any) -> None:
    engine = Engine(model, max_batch_tokens=8, max_num_seqs=2)
    requests = [engine.submit(random_prompt(i, 30)) for i in range(3)]
    engine.step()
    assert engine.core._filling is not None
    engine.core.cancel([requests[0], requests[2]])
    assert engine.core.used == 0
    engine.drain()
    assert [bool(engine.tokens(request)) for request in requests] == [False, True, False]


def test_where_memory_runs_out_the_youngest_waits_and_says_the_same(model: Any) -> None:
    want = [generate_alone(model, prompt, 30) for prompt in PROMPTS]
    engine = Engine(model, capacity=150)
    requests = [engine.submit(prompt, max_tokens=30) for prompt in PROMPTS]
    steps = 0
    while engine.core.has_work:
        engine.step()
        assert engine.core.used <= 150
        steps += 1
        assert steps < 1000
    assert engine.core.stats().preemptions > 0
    assert [engine.tokens(request) for request in requests] == want


def test_what_can_never_fit_is_refused_with_the_numbers(model: Any) -> None:
    engine = Engine(model, capacity=20)
    (delta,) = engine.deltas[engine.submit([5] * 20)]
    assert delta.finish_reason == "error"
    assert "the prompt has 20 tokens; with at most 20" in (delta.error or "")


def test_very_different_lengths_do_not_pad_each_other() -> None:
    engine = Engine(make_model("gpt2", n_positions=1024), max_model_len=1000, max_batch_tokens=512)
    long = engine.submit(random_prompt(1, 900), max_tokens=6)
    short = [engine.submit(prompt, max_tokens=6) for prompt in PROMPTS]
    while not all(engine.tokens(request) for request in [long, *short]):
        engine.step()
    assert len(engine.core._lanes) == 2
    assert engine.core.used < 900 + 8 * 50
    engine.drain()
    assert len(engine.tokens(long)) == 6


def test_a_seed_gives_the_same_text_alone_and_in_any_batch(model: Any) -> None:
    wish = {"temperature": 0.9, "top_k": 20, "top_p": 0.95, "max_tokens": 20}
    alone = [Engine(model).run(prompt, seed=7, **wish) for prompt in PROMPTS[:3]]
    engine = Engine(model)
    requests = [engine.submit(prompt, seed=7, **wish) for prompt in PROMPTS[:3]]
    others = [engine.submit(prompt, seed=8, **wish) for prompt in PROMPTS]
    engine.drain()
    assert [engine.tokens(request) for request in requests] == alone
    assert engine.tokens(others[0]) != alone[0]


@pytest.mark.parametrize("seen", [1, 5, 19])
def test_a_replay_goes_on_where_the_dead_engine_was(model: Any, seen: int) -> None:
    wish: dict[str, Any] = {"temperature": 0.9, "seed": 11, "max_tokens": 20}
    wish |= {"repetition_penalty": 1.3, "stop_token_ids": ()}
    want = Engine(model).run(PROMPTS[2], **wish)
    assert len(want) == 20
    engine = Engine(model)
    engine.submit(PROMPTS[4])
    engine.step()
    assert engine.run(PROMPTS[2], emitted=want[:seen], **wish) == want[seen:]


def test_a_replay_that_has_nothing_left_to_say_ends_at_once(model: Any) -> None:
    engine = Engine(model)
    (delta,) = engine.deltas[engine.submit(PROMPTS[0], emitted=[5, 6], max_tokens=2)]
    assert (delta.tokens, delta.finish_reason) == ([], "length")


def test_penalties_and_minimum_lengths_are_generates_own(model: Any) -> None:
    want = generate_alone(model, PROMPTS[3], 20, repetition_penalty=1.7, min_new_tokens=20)
    got = Engine(model).run(PROMPTS[3], max_tokens=20, repetition_penalty=1.7, min_tokens=20)
    assert got == want
    assert got != generate_alone(model, PROMPTS[3], 20, min_new_tokens=20)


def test_stop_tokens_end_the_text_and_are_named_so(model: Any) -> None:
    text = generate_alone(model, PROMPTS[0], 12)
    engine = Engine(model)
    request = engine.submit(PROMPTS[0], stop_token_ids=(text[4],))
    engine.drain()
    first = text.index(text[4])
    assert engine.tokens(request) == text[: first + 1]
    assert engine.deltas[request][-1].finish_reason == "stop"


@pytest.mark.parametrize("budget", [5, 64])
def test_logprobs_of_output_and_prompt_are_the_models(model: Any, budget: int) -> None:
    engine = Engine(model, max_batch_tokens=budget)
    prompt = PROMPTS[5]
    request = engine.submit(prompt, logprobs=2, prompt_logprobs=1, max_tokens=4)
    engine.submit(PROMPTS[1])
    engine.drain()
    tokens = prompt + engine.tokens(request)
    with torch.inference_mode():
        logits = model(torch.tensor([tokens])).logits[0]
    want = logits.log_softmax(-1)
    first = engine.deltas[request][0].prompt_logprobs
    assert first is not None
    assert first[0] is None
    assert len(first) == len(prompt)
    for position, score in enumerate(first[1:], 1):
        assert score is not None
        assert score.token == prompt[position]
        assert score.logprob == pytest.approx(want[position - 1, score.token].item(), abs=1e-4)
    for position, delta in enumerate(engine.deltas[request], len(prompt)):
        (score,) = delta.logprobs or []
        assert score.token == tokens[position]
        assert score.logprob == pytest.approx(want[position - 1, score.token].item(), abs=1e-4)
        assert len(score.top) == 2
        assert score.top[0][1] == pytest.approx(want[position - 1].max().item(), abs=1e-4)


def test_logits_that_are_not_numbers_end_their_request_alone(model: Any) -> None:
    engine = Engine(model)
    good, bad = engine.submit(PROMPTS[1]), engine.submit(PROMPTS[2])
    while not engine.tokens(bad):
        engine.step()
    layer = engine.core._lanes[0].state["past_key_values"].layers[0]
    row = [s.request_id for s in engine.core._lanes[0].sequences].index(bad)
    layer.values = layer.values.clone()
    layer.values[row] = float("nan")
    engine.drain()
    assert engine.deltas[bad][-1].error == "the model gave logits that are not numbers"
    assert engine.tokens(good) == generate_alone(model, PROMPTS[1], 12)


def test_a_request_that_keeps_every_token_out_is_refused_alone(model: Any) -> None:
    engine = Engine(model)
    good = engine.submit(PROMPTS[1])
    bad = engine.submit(PROMPTS[2], allowed_token_ids=(7,), bad_words=((7, 7),))
    engine.drain()
    assert engine.tokens(bad) == [7]
    last = engine.deltas[bad][-1]
    assert last.refused
    assert last.error == "allowed_token_ids and bad_words leave no token that may come next"
    assert engine.tokens(good) == generate_alone(model, PROMPTS[1], 12)


def test_a_replay_of_a_penalised_one_goes_on_as_it_would_have(model: Any) -> None:
    wish = {"presence_penalty": 1.1, "frequency_penalty": 0.4, "repetition_penalty": 1.2}
    whole = Engine(model).run(PROMPTS[3], max_tokens=20, **wish)
    assert whole != Engine(model).run(PROMPTS[3], max_tokens=20)
    assert Engine(model).run(PROMPTS[3], max_tokens=20, emitted=whole[:9], **wish) == whole[9:]


def test_nothing_is_left_of_a_folders_own_generation_defaults(tmp_path: Any) -> None:
    from berth.engines.transformers.loading import load_model
    from berth.protocol.config import EngineConfig

    saved = make_model("gpt2")
    saved.generation_config.update(temperature=0.1, do_sample=True, repetition_penalty=3.0)
    saved.save_pretrained(tmp_path)
    config = EngineConfig(model=str(tmp_path), socket="", dtype="float32", device="cpu")
    loaded = load_model(config, lambda done, total: None)
    assert Engine(loaded).run(PROMPTS[0]) == generate_alone(make_model("gpt2"), PROMPTS[0], 12)
    assert loaded.generation_config.repetition_penalty in (None, 1.0)
    assert EOS < VOCAB


def test_the_wait_for_the_first_step_is_told_with_the_first_token_and_never_again(
    model: Any,
) -> None:
    engine = Engine(model, max_num_seqs=1)
    first, second = engine.submit(PROMPTS[0], max_tokens=4), engine.submit(PROMPTS[1])
    engine.drain()
    waits = [[delta.waited for delta in engine.deltas[request]] for request in (first, second)]
    for mine in waits:
        assert mine[0] is not None
        assert set(mine[1:]) == {None}
    assert (waits[1][0] or 0.0) > (waits[0][0] or 0.0)  # one sequence at a time
