"""Falcon of every generation: what test_parity.py promises, and what only Falcon has."""

from __future__ import annotations

from typing import Any

import pytest

from engines.native.harness import Engine, random_prompt
from engines.native.test_parity import (
    compare,
    test_a_replay_goes_on_where_the_dead_engine_stopped,
    test_a_shared_prefix_gives_the_reference_logits,
    test_chunked_prefill_among_others_gives_the_reference_logits,
    test_preemption_and_recomputation_give_the_reference_logits,
    test_prefill_and_decode_give_the_reference_logits,
)
from models.checkpoints import save_transformers

# Run here again with the models below.
__all__ = [
    "test_a_replay_goes_on_where_the_dead_engine_stopped",
    "test_a_shared_prefix_gives_the_reference_logits",
    "test_chunked_prefill_among_others_gives_the_reference_logits",
    "test_preemption_and_recomputation_give_the_reference_logits",
    "test_prefill_and_decode_give_the_reference_logits",
]

FALCON_RW = {"multi_query": False, "alibi": True, "bias": True, "parallel_attn": False}
FALCON_40B = {"new_decoder_architecture": True, "num_kv_heads": 2}
FALCON_11B = FALCON_40B | {
    "num_ln_in_parallel_attn": 1,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500042.0},
}
MODELS = [
    pytest.param(FALCON_RW, id="falcon-rw"),
    pytest.param({}, id="falcon-7b"),
    pytest.param(FALCON_40B, id="falcon-40b"),
    pytest.param(FALCON_11B, id="falcon-11b"),
    # No published Falcon is one of these, but config.json can say so.
    pytest.param(FALCON_40B | {"alibi": True, "bias": True}, id="grouped-alibi"),
    pytest.param(
        {"alibi": True, "num_attention_heads": 6, "hidden_size": 48, "bias": True},
        id="multi-query-alibi-6-heads",
    ),
]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("falcon")
    return folder, save_transformers(folder, "falcon", seed=3, **request.param)


def test_sixteen_at_once_give_the_text_that_each_gives_alone(model: Any) -> None:
    folder, _ = model
    prompts = [random_prompt(50 + i, 1 + 7 * (i % 6)) for i in range(16)]
    alone = Engine(folder, prefix_caching=False)
    engine = Engine(folder, blocks=96, max_num_seqs=16, max_batch_tokens=40)
    requests = [engine.submit(prompt) for prompt in prompts]
    engine.drain()
    assert [engine.tokens(request) for request in requests] == [alone.run(p) for p in prompts]
    assert engine.scheduler.stats().blocks_used == 0


def test_the_bias_of_far_tokens_is_as_coarse_as_the_reference(model: Any) -> None:
    """Beyond token 256 bfloat16, in which Falcon's ALiBi is computed, skips numbers."""
    folder, reference = model
    engine = Engine(folder, positions=512, max_batch_tokens=200)
    prompt = random_prompt(60, 400)
    request = engine.submit(prompt, max_tokens=20)
    engine.drain()
    compare(engine, reference, request, prompt)
