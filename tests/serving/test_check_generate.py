"""Parameters of generate are checked before an engine sees them."""

from __future__ import annotations

from typing import Any

import pytest

from berth.protocol.messages import GenerateParams, Ready, SamplingParams
from berth.serving.check_generate import NEEDS_GENERATE, check_generate
from berth.serving.errors import InvalidRequest
from berth.serving.request import Options


def ready(**changes: Any) -> Ready:
    values: dict[str, Any] = {
        "engine": "transformers", "architecture": "x", "vocab_size": 100, "max_model_len": 200,
        "max_num_seqs": 8, "block_size": 1, "blocks_total": 1000, "dtype": "float32",
        "device": "cpu", "degree": 1, "weight_bytes": 0, "kv_bytes": 0, "load_seconds": 0.0,
        "generates": True,
    }  # fmt: skip
    return Ready(**(values | changes))


def check(
    engine: Ready | None = None, options: dict[str, Any] | None = None, **generate: Any
) -> None:
    wish = Options(generate=GenerateParams(**generate), **(options or {}))
    params = SamplingParams(max_tokens=50, temperature=wish.temperature)
    check_generate(wish, params, engine or ready(), prompt_tokens=10)


GREEDY = {"temperature": 0.0}


@pytest.mark.parametrize(
    "generate",
    [
        {"num_beams": 4, "num_return_sequences": 4, "early_stopping": "never"},
        {"num_beams": 4, "length_penalty": -1.5, "early_stopping": True},
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
        {"bad_words_ids": [[0], [99, 3]], "forced_bos_token_id": 99, "forced_eos_token_id": 0},
        {"no_repeat_ngram_size": 3, "typical_p": 0.2, "remove_invalid_values": True},
    ],
)
def test_what_agrees_passes(generate: dict[str, Any]) -> None:
    check(options=GREEDY, **generate)


@pytest.mark.parametrize(
    ("generate", "field"),
    [
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": 65}, "num_beams"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences"),
        ({"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 1.0}, "num_beam_groups"),
        ({"num_beam_groups": 2, "diversity_penalty": 1.0}, "num_beam_groups"),
        ({"num_beams": 4, "num_beam_groups": 2}, "diversity_penalty"),
        (
            {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": float("nan")},
            "diversity_penalty",
        ),
        ({"num_beams": 2, "length_penalty": float("nan")}, "length_penalty"),
        ({"num_beams": 2, "length_penalty": 1e6}, "length_penalty"),
        ({"typical_p": 0.0}, "typical_p"),
        ({"typical_p": float("nan")}, "typical_p"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
        ({"bad_words_ids": [[]]}, "bad_words_ids"),
        ({"bad_words_ids": [[100]]}, "bad_words_ids"),
        ({"bad_words_ids": [[1]] * 1025}, "bad_words_ids"),
        ({"forced_bos_token_id": -1}, "forced_bos_token_id"),
        ({"forced_eos_token_id": 100}, "forced_eos_token_id"),
        ({"num_beams": 20}, "num_beams"),  # 20 * 60 tokens, of 1000
    ],
)
def test_what_does_not_is_refused_by_name(generate: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=field) as refusal:
        check(options=GREEDY, **generate)
    assert refusal.value.field == field


def test_groups_of_beams_do_not_sample() -> None:
    with pytest.raises(InvalidRequest, match="do_sample to false"):
        check(num_beams=4, num_beam_groups=2, diversity_penalty=1.0)


@pytest.mark.parametrize(
    "option",
    [{"min_p": 0.1}, {"logit_bias": {3: 1.0}}, {"logprobs": 0, "echo": True}, {"echo": True}],
)
def test_what_generate_cannot_be_combined_with_is_named(option: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="cannot be combined with no_repeat_ngram_size"):
        check(options=option, no_repeat_ngram_size=2)


def test_an_engine_without_generate_is_named_with_the_parameter_and_the_way_out() -> None:
    with pytest.raises(InvalidRequest, match="--engine transformers") as refusal:
        check(ready(engine="native", generates=False), num_beams=2)
    assert (refusal.value.field, refusal.value.code) == ("num_beams", NEEDS_GENERATE)
    assert "native engine" in str(refusal.value)
