"""The engine computes what transformers computes, whatever way the scheduler cuts it up."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engines.native.harness import Engine, random_prompt
from models.checkpoints import save_transformers

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
# DeepSeek's keys, and gpt-oss's.
YARN_MSCALE = YARN | {"mscale": 0.8, "mscale_all_dim": 0.4, "beta_fast": 8.0, "truncate": False}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 256,
    "short_factor": [1.0, 1.5, 2.0, 2.5],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
PHI_4_MINI = {
    "head_dim": 16,
    "hidden_size": 128,
    "tie_word_embeddings": True,
    "partial_rotary_factor": 0.75,
    "max_position_embeddings": 1024,
    "original_max_position_embeddings": 256,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.2, 1.4, 1.6, 1.8, 2.0],
        "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    },
}
GEMMA_2 = {"sliding_window": 12, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 3.0}
GEMMA_3 = {"sliding_window": 12, "num_hidden_layers": 3, "sliding_window_pattern": 2}
GEMMA_3_STRETCHED = {
    "query_pre_attn_scalar": 24,
    "final_logit_softcapping": 5.0,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
    },
}
MODELS = [
    pytest.param(("llama", {"num_key_value_heads": 8}), id="llama-1-and-2"),
    pytest.param(("llama", {"rope_parameters": LLAMA3}), id="llama-3.1"),
    pytest.param(("llama", {"rope_parameters": YARN}), id="llama-yarn"),
    pytest.param(("qwen2", {"rope_parameters": YARN_MSCALE}), id="qwen2-yarn-mscale"),
    pytest.param(
        ("llama", {"rope_parameters": LONGROPE, "max_position_embeddings": 1024}),
        id="llama-longrope",
    ),
    pytest.param(("llama", {"attention_bias": True, "mlp_bias": True}), id="llama-biased"),
    pytest.param(("llama", {"tie_word_embeddings": True, "head_dim": 16}), id="smollm"),
    pytest.param(("mistral", {"sliding_window": 20}), id="mistral-window"),
    pytest.param(("mistral", {"sliding_window": None}), id="mistral-no-window"),
    pytest.param(("qwen2", {}), id="qwen2"),
    pytest.param(
        ("qwen2", {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}),
        id="qwen2-half-window",
    ),
    pytest.param(("qwen3", {"tie_word_embeddings": True}), id="qwen3"),
    pytest.param(("gemma2", GEMMA_2), id="gemma2"),
    pytest.param(("gemma2", GEMMA_2 | {"attention_bias": True}), id="gemma2-biased"),
    pytest.param(("gemma3_text", GEMMA_3), id="gemma3"),
    pytest.param(("gemma3_text", GEMMA_3 | GEMMA_3_STRETCHED), id="gemma3-stretched"),
    pytest.param(("phi3", {"sliding_window": 20}), id="phi-3-mini"),
    pytest.param(("phi3", PHI_4_MINI), id="phi-4-mini"),
]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    architecture, changes = request.param
    folder = tmp_path_factory.mktemp(architecture)
    reference = save_transformers(folder, architecture, seed=3, **changes)
    return folder, reference


def reference_logits(reference: Any, prompt: list[int], output: list[int]) -> torch.Tensor:
    """The logits that each of `output` was chosen from, computed all at once."""
    with torch.inference_mode():
        everything = reference(torch.tensor([prompt + output])).logits[0]
    return everything[len(prompt) - 1 : -1]


def compare(engine: Engine, reference: Any, request: int, prompt: list[int]) -> None:
    output = engine.tokens(request)
    assert output
    want = reference_logits(reference, prompt, output)
    torch.testing.assert_close(engine.logits(request), want, atol=1e-4, rtol=0)
    assert output == want.argmax(dim=-1).tolist()


def test_prefill_and_decode_give_the_reference_logits(model: Any) -> None:
    folder, reference = model
    engine = Engine(folder)
    for seed, length in enumerate((1, 5, 16, 17, 50)):
        prompt = random_prompt(seed, length)
        request = engine.submit(prompt, max_tokens=20)
        engine.drain()
        compare(engine, reference, request, prompt)


def test_chunked_prefill_among_others_gives_the_reference_logits(model: Any) -> None:
    folder, reference = model
    engine = Engine(folder, max_batch_tokens=9, max_num_seqs=8)
    prompts = [random_prompt(10 + i, length) for i, length in enumerate((40, 3, 64, 18, 33, 1))]
    requests = [engine.submit(prompt, max_tokens=24) for prompt in prompts]
    engine.drain()
    for request, prompt in zip(requests, prompts, strict=True):
        compare(engine, reference, request, prompt)


def test_a_shared_prefix_gives_the_reference_logits(model: Any) -> None:
    folder, reference = model
    engine = Engine(folder)
    prefix = random_prompt(20, 48)
    engine.run(prefix + random_prompt(21, 5))
    prompt = prefix + random_prompt(22, 9)
    request = engine.submit(prompt, max_tokens=20)
    engine.drain()
    assert engine.deltas[request][0].cached_tokens == 48
    compare(engine, reference, request, prompt)


def test_preemption_and_recomputation_give_the_reference_logits(model: Any) -> None:
    folder, reference = model
    engine = Engine(folder, blocks=8, prefix_caching=False)
    prompts = [random_prompt(30 + i, 20) for i in range(4)]
    requests = [engine.submit(prompt, max_tokens=40) for prompt in prompts]
    engine.drain()
    assert engine.scheduler.stats().preemptions > 0
    for request, prompt in zip(requests, prompts, strict=True):
        compare(engine, reference, request, prompt)


def test_a_replay_goes_on_where_the_dead_engine_stopped(model: Any) -> None:
    folder, _ = model
    prompt = random_prompt(40, 23)
    whole = Engine(folder).run(prompt, max_tokens=30)
    engine = Engine(folder)
    request = engine.submit(prompt, emitted=whole[:13], max_tokens=30)
    engine.drain()
    assert engine.tokens(request) == whole[13:]
