"""Every architecture through the engine says what transformers' generate says alone."""

from __future__ import annotations

import copy

import pytest

from berth.protocol.messages import SamplingParams, Submit
from engines.transformers.harness import Engine
from engines.transformers.tiny_models import (
    ARCHITECTURES,
    generate_alone,
    make_model,
    random_prompt,
)

PROMPTS = [random_prompt(i, 3 + 5 * (i % 5)) for i in range(6)]
# Recurrent states and frequencies that look at the whole batch: a pass for each sequence.
NOT_IN_BATCHES = {"lfm2", "llama-dynamic", "mamba", "qwen3_5", "qwen3_5_moe", "qwen3_next"}
WITHOUT_A_CACHE = {"gpt1"}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_greedy_text_in_a_crowd_is_what_generate_gives_alone(name: str) -> None:
    model = make_model(name)
    # Each on a copy of its own: some models' forward passes leave traces behind.
    want = [generate_alone(copy.deepcopy(model), prompt, 12) for prompt in PROMPTS]
    assert len(set(map(tuple, want))) > 3, "a model that says the same to everybody tests nothing"
    engine = Engine(model, max_batch_tokens=16)
    assert engine.abilities.steps == (name not in WITHOUT_A_CACHE)
    assert engine.abilities.batches == (name not in WITHOUT_A_CACHE | NOT_IN_BATCHES)
    requests = [engine.submit(prompt) for prompt in PROMPTS]
    engine.drain()
    assert [engine.tokens(request) for request in requests] == want
    assert engine.core.used == 0


@pytest.mark.parametrize("name", ["falcon-rw", "gemma2", "mpt"])
def test_sixteen_at_once_say_the_same_as_alone(name: str) -> None:
    model = make_model(name)
    prompts = [random_prompt(100 + i, 2 + (7 * i) % 40) for i in range(16)]
    want = [generate_alone(model, prompt, 20) for prompt in prompts]
    engine = Engine(model)
    requests = [engine.submit(prompt, max_tokens=20) for prompt in prompts]
    engine.step()
    engine.step()
    assert len(engine.core.running) > 4, "they do not run together"
    engine.drain()
    assert [engine.tokens(request) for request in requests] == want


def test_a_batch_that_a_model_gets_wrong_is_noticed_and_not_used() -> None:
    model = make_model("gpt2")
    want = [generate_alone(model, prompt, 8) for prompt in PROMPTS[:3]]
    right = model.transformer.forward

    def careless(*args: object, **kwargs: object) -> object:
        kwargs["position_ids"] = None  # counts the padding
        return right(*args, **kwargs)

    model.transformer.forward = careless
    engine = Engine(model)
    assert engine.abilities.steps
    assert not engine.abilities.batches
    requests = [engine.submit(prompt, max_tokens=8) for prompt in PROMPTS[:3]]
    engine.drain()
    assert [engine.tokens(request) for request in requests] == want


def test_every_module_beats_the_pulse() -> None:
    engine = Engine(make_model("gpt2"))
    before = engine.pulse.work
    engine.core.submit(Submit(1, PROMPTS[0], SamplingParams(max_tokens=1)))
    engine.core.step()
    assert engine.pulse.work - before > 20
    assert not engine.pulse.busy
