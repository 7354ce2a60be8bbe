"""What a request may ask for; everything else is refused with the field's name and its range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.protocol.messages import SamplingParams
from berth.serving.errors import InvalidRequest
from berth.serving.prompt import Prompt
from berth.serving.request import Options
from berth.serving.validate import check_prompt, check_text, max_prompt_bytes, sampling_params

HUGE = 10**5000  # Python refuses to write so many digits


def params(prompt_tokens: int = 10, eos: Sequence[int] = (2,), **options: Any) -> SamplingParams:
    return sampling_params(
        Options(**options),
        prompt_tokens=prompt_tokens,
        max_model_len=100,
        vocab_size=400,
        eos_ids=eos,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", HUGE),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("top_k", -2),
        ("top_k", 1.5),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0),
        ("repetition_penalty", math.inf),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("max_tokens", 0),
        ("max_tokens", -HUGE),
        ("max_tokens", 1.0),
        ("min_tokens", -1),
        ("min_tokens", 91),
        ("logprobs", 21),
        ("logprobs", -1),
        ("seed", 2**63),
        ("seed", -HUGE),
        ("timeout", 0),
        ("timeout", math.nan),
        ("stop", ("",)),
        ("stop", ("x" * 257,)),
        ("stop", ("x",) * 17),
        ("stop", ("\ud800",)),
        ("stop_token_ids", (400,)),
        ("stop_token_ids", (-1,)),
        ("logit_bias", {400: 1.0}),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {1: 100.5}),
        ("logit_bias", {1: math.nan}),
        ("logit_bias", dict.fromkeys(range(1025), 0.0)),
    ],
    ids=lambda value: f"{value!s:.24}" if value is not HUGE and value != -HUGE else "huge",
)
def test_a_value_out_of_its_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field} ") as caught:
        params(**{field: value})
    assert caught.value.field == field
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("temperature", 2.0),
        ("top_p", 1),
        ("top_p", 1e-9),
        ("top_k", -1),
        ("min_p", 1),
        ("presence_penalty", -2),
        ("logprobs", 0),
        ("logprobs", 20),
        ("seed", -(2**63)),
        ("stop", ("x" * 256,) * 16),
        ("logit_bias", {n % 400: -100 for n in range(1024)}),
        ("min_tokens", 90),
    ],
)
def test_the_ends_of_a_range_belong_to_it(field: str, value: Any) -> None:
    assert isinstance(params(**{field: value}), SamplingParams)


def test_where_max_tokens_is_cut_to_the_context_so_is_min_tokens() -> None:
    cut = params(max_tokens=10**6, min_tokens=10**5, clip_max_tokens=True)
    assert cut.min_tokens == cut.max_tokens < 10**5


def test_kaitos_temperature_has_no_upper_end_but_is_finite() -> None:
    assert params(temperature=5.5, max_temperature=math.inf).temperature == 5.5
    for value in (math.inf, math.nan, HUGE):
        with pytest.raises(InvalidRequest, match="temperature"):
            params(temperature=value, max_temperature=math.inf)


def test_without_a_limit_an_answer_may_fill_the_context() -> None:
    assert params(prompt_tokens=10).max_tokens == 90


def test_an_answer_that_cannot_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(InvalidRequest) as caught:
        params(prompt_tokens=60, max_tokens=50)
    assert caught.value.code == "context_length_exceeded"
    assert str(caught.value).startswith(
        "This model's maximum context length is 100 tokens. However, you requested 110 tokens "
        "(60 in the messages, 50 in the completion)."
    )


def test_kaitos_limit_is_cut_to_what_the_context_leaves() -> None:
    assert params(prompt_tokens=60, max_tokens=50, clip_max_tokens=True).max_tokens == 40


@pytest.mark.parametrize("clip", [False, True])
def test_a_prompt_that_fills_the_context_is_refused_with_the_numbers(clip: bool) -> None:
    with pytest.raises(InvalidRequest, match=r"requested 101 tokens \(100 in the") as caught:
        params(prompt_tokens=100, clip_max_tokens=clip)
    assert caught.value.code == "context_length_exceeded"


def test_echo_alone_asks_the_engine_for_one_token() -> None:
    asked = params(max_tokens=0, echo=True, logprobs=1)
    assert (asked.max_tokens, asked.prompt_logprobs) == (1, 1)
    assert params(echo=True).max_tokens == 90


def test_the_ends_of_the_sequence_stop_an_answer_unless_ignored() -> None:
    assert params(eos=(2, 7), stop_token_ids=(5,)).stop_token_ids == (2, 5, 7)
    assert params(eos=(2, 7), stop_token_ids=(5,), ignore_eos=True).stop_token_ids == (5,)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_given_seed_stays_the_same_and_fits_the_engine(seed: int) -> None:
    assert params(seed=seed).seed == params(seed=seed).seed
    assert 0 <= params(seed=seed).seed < 2**63


def test_without_a_seed_one_is_drawn() -> None:
    assert len({params().seed for _ in range(8)}) == 8


@pytest.mark.parametrize("prompt", [[], [400], [-1], [1, HUGE], [1.5], ["a"], [True]])
def test_a_prompt_without_tokens_or_with_foreign_ones_is_refused(prompt: list[Any]) -> None:
    with pytest.raises(InvalidRequest, match="prompt"):
        check_prompt(Prompt(prompt), 400)


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff", "\ud83d and \ude00"])
def test_half_a_character_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="prompt holds a lone surrogate"):
        check_text(text, "prompt")


def test_a_nul_is_a_character_like_another() -> None:
    check_text("a\x00b", "prompt")


@pytest.mark.parametrize("text", ["x" * 1225, "€" * 409])
def test_a_text_that_no_context_holds_is_refused_in_openais_words(text: str) -> None:
    says = (
        "This model's maximum context length is 100 tokens. However, you requested at least "
        "61[34] tokens in the prompt. Please reduce the length of the prompt."
    )
    with pytest.raises(InvalidRequest, match=says) as caught:
        check_text(text, "prompt", max_model_len=100, max_token_bytes=2)
    assert caught.value.code == "context_length_exceeded"
    check_text("€" * 408, "prompt", max_model_len=100, max_token_bytes=2)


def test_the_bound_holds_a_context_of_the_longest_tokens() -> None:
    assert max_prompt_bytes(100, 16) >= 1600


@pytest.mark.parametrize(
    ("options", "bad_words", "why"),
    [
        ({"allowed_token_ids": (7, 8)}, [[7], [8], [8, 9]], "bad_words does not exclude"),
        ({"allowed_token_ids": (2, 3), "stop_token_ids": (3,), "min_tokens": 1}, [], "min_tokens"),
        ({"allowed_token_ids": (2, 7), "min_tokens": 4}, [[7]], r"min_tokens \(4\)"),
    ],
)
def test_what_leaves_no_token_to_begin_with_is_refused_before_it_runs(
    options: dict[str, Any], bad_words: list[list[int]], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why) as raised:
        sampling_params(
            Options(**options),
            prompt_tokens=10,
            max_model_len=100,
            vocab_size=400,
            eos_ids=(2,),
            bad_words=bad_words,
        )
    assert raised.value.field == "allowed_token_ids"


def test_a_token_that_may_come_is_enough() -> None:
    assert params(allowed_token_ids=(2, 7), min_tokens=4).allowed_token_ids == (2, 7)
    assert params(allowed_token_ids=(2,)).allowed_token_ids == (2,)
