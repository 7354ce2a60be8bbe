"""Sampling keeps its promises: the right distribution, the same text for the same seed."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.engines.host.sequence import Sequence
from berth.engines.sampling import sampler as sampler_module
from berth.engines.sampling.randomness import uniform
from berth.engines.sampling.sampler import BAD_LOGITS, NO_TOKEN, Sampler
from berth.engines.sampling.state import SamplingState
from berth.kernels.native_ops import NativeOps, make_ops
from berth.kernels.ops import TorchOps
from berth.protocol.messages import SamplingParams

VOCAB = 600


def sequence(output: list[int] | None = None, **params: Any) -> Sequence:
    values = {"max_tokens": 100_000} | params
    return Sequence(1, [5, 6, 7, 7], SamplingParams(**values), output or [])


OPS: list[TorchOps] = [TorchOps()]  # of the test that runs


@pytest.fixture(autouse=True, params=["torch", "kernels"])
def ops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TorchOps:
    """Every promise is kept with the kernels and without them."""
    chosen = TorchOps()
    if request.param == "kernels":
        chosen = make_ops(torch.device("cpu"), torch.float32)
        if not isinstance(chosen, NativeOps):
            pytest.skip("no C compiler on this machine: torch operations are used")
    monkeypatch.setitem(globals(), "OPS", [chosen])
    return chosen


def sample(logits: torch.Tensor, *sequences: Sequence) -> list[int]:
    """Each of these sequences' next token; the sequences stay as they are."""
    return Sampler(OPS[0]).sample(logits.contiguous(), states(*sequences)).tokens


def states(*sequences: Sequence) -> list[SamplingState]:
    return [SamplingState(s.params, s.tokens[: s.num_prompt], s.output) for s in sequences]


def draw(logits: torch.Tensor, times: int, **params: Any) -> torch.Tensor:
    """Counts of `times` draws from one row, at seeds 0 to times - 1."""
    rows = logits.expand(times, -1)
    return torch.bincount(
        torch.tensor(sample(rows, *(sequence(seed=i, **params) for i in range(times)))),
        minlength=logits.numel(),
    )


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(1)) * 3


@given(st.integers(0, 2**63 - 1), st.integers(0, 100_000))
def test_uniform_numbers_are_in_their_range_and_repeat(seed: int, position: int) -> None:
    assert 0.0 <= uniform(seed, position) < 1.0
    assert uniform(seed, position) == uniform(seed, position)


def test_uniform_numbers_are_even_over_seeds_and_over_positions() -> None:
    for numbers in (
        [uniform(seed, 0) for seed in range(20_000)],
        [uniform(11, position) for position in range(20_000)],
    ):
        counts = torch.histc(torch.tensor(numbers), 20, 0, 1)
        chi_square = float(((counts - 1000) ** 2 / 1000).sum())
        assert chi_square < 50  # 19 degrees of freedom: above 50 once in ten thousand


def test_temperature_zero_takes_the_largest(logits: torch.Tensor) -> None:
    assert sample(logits[None], sequence(temperature=0.0)) == [int(logits.argmax())]


@pytest.mark.parametrize(
    "params",
    [{}, {"temperature": 0.5}, {"top_k": 5}, {"top_p": 0.6}, {"min_p": 0.2}, {"top_p": 0.999}],
    ids=str,
)
def test_draws_follow_the_filtered_distribution(
    logits: torch.Tensor, params: dict[str, Any]
) -> None:
    times = 20_000
    probs = torch.softmax(logits / params.get("temperature", 1.0), -1)
    order = probs.argsort(descending=True)
    ranked = probs[order]
    keep = torch.ones(VOCAB, dtype=torch.bool)
    keep &= torch.arange(VOCAB) < params.get("top_k", VOCAB)
    keep &= ranked.cumsum(0) - ranked < params.get("top_p", 1.1)
    keep &= ranked >= params.get("min_p", 0.0) * ranked[0]
    want = torch.zeros(VOCAB).scatter(0, order, torch.where(keep, ranked, 0.0))
    want /= want.sum()
    got = draw(logits, times, **params)
    assert int(got[want == 0].sum()) == 0
    often = want * times > 10
    chi_square = float(((got - want * times) ** 2 / (want * times))[often].sum())
    freedom = int(often.sum())
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom) + 5


def test_a_flat_distribution_is_sampled_beyond_the_first_candidates() -> None:
    got = draw(torch.zeros(VOCAB), 6000, top_p=0.9)
    assert int((got > 0).sum()) > 2 * sampler_module.CANDIDATES - 10
    assert int((got > 0).sum()) <= math.ceil(VOCAB * 0.9) + 1


def test_a_request_draws_the_same_in_any_company(logits: torch.Tensor) -> None:
    mine = sequence([3, 4], seed=99, top_p=0.9)
    alone = sample(logits[None], mine)
    others = [
        sequence(temperature=0.0),
        sequence(top_k=400, seed=3),
        sequence(logprobs=5, seed=4),
        sequence([1, 2, 3], presence_penalty=1.5, seed=5),
    ]
    rows = torch.stack([logits.flip(0), logits, logits * 2, logits, logits])
    assert sample(rows, others[0], mine, *others[1:])[1:2] == alone


def test_a_tiny_temperature_is_greedy_and_finite(logits: torch.Tensor) -> None:
    assert sample(logits[None], sequence(temperature=1e-6, seed=3)) == [int(logits.argmax())]


def test_penalties_and_bias_shift_what_they_name() -> None:
    logits = torch.zeros(VOCAB)
    logits[5], logits[9], logits[20] = 4.0, 3.9, 3.8
    greedy = {"temperature": 0.0}
    assert sample(logits[None], sequence(**greedy)) == [5]
    assert sample(logits[None], sequence(repetition_penalty=1.2, **greedy)) == [9]  # 5: prompt
    assert sample(logits[None], sequence(presence_penalty=1.0, **greedy)) == [5]  # not output
    assert sample(logits[None], sequence([5], presence_penalty=1.0, **greedy)) == [9]
    assert sample(logits[None], sequence([5, 9, 9], frequency_penalty=0.15, **greedy)) == [5]
    assert sample(logits[None], sequence(logit_bias={20: 5.0}, **greedy)) == [20]


def test_a_stop_token_waits_for_min_tokens() -> None:
    logits = torch.zeros(VOCAB)
    logits[2] = 9.0
    logits[8] = 1.0
    params = {"temperature": 0.0, "stop_token_ids": (2,), "min_tokens": 3}
    for before in ([], [1], [1, 1]):
        assert sample(logits[None], sequence(before, **params)) == [8]
    assert sample(logits[None], sequence([1, 1, 1], **params)) == [2]


def test_logprobs_are_the_models_own_before_any_filter(logits: torch.Tensor) -> None:
    params = {"logprobs": 3, "temperature": 0.3, "top_k": 2, "seed": 4}
    done = Sampler(OPS[0]).sample(logits[None], states(sequence(**params)))
    entry = done.logprobs[0]
    assert entry is not None
    want = torch.log_softmax(logits, -1)
    assert entry.token == done.tokens[0]
    assert entry.logprob == pytest.approx(float(want[entry.token]), abs=1e-5)
    values, ids = want.topk(3)
    assert [token for token, _ in entry.top] == ids.tolist()
    assert [value for _, value in entry.top] == pytest.approx(values.tolist(), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nan_spoils_its_own_row_only(logits: torch.Tensor, temperature: float) -> None:
    rows = torch.stack([logits, logits.clone(), logits])
    rows[1, 17] = torch.nan
    sequences = [sequence(temperature=temperature, seed=i, logprobs=1) for i in range(3)]
    done = Sampler(OPS[0]).sample(rows, states(*sequences))
    assert done.tokens[1] == BAD_LOGITS
    assert done.logprobs[1] is None
    assert done.tokens[0] == sample(logits[None], sequences[0])[0]
    assert BAD_LOGITS not in (done.tokens[0], done.tokens[2])


def test_only_allowed_tokens_are_chosen(logits: torch.Tensor) -> None:
    allowed = (3, 17, 400)
    counts = draw(logits, 200, allowed_token_ids=allowed)
    assert set(counts.nonzero().flatten().tolist()) <= set(allowed)
    best = max(allowed, key=lambda token: float(logits[token]))
    one = sequence(temperature=0, allowed_token_ids=allowed)
    assert sample(logits.unsqueeze(0), one) == [best]


def test_a_bad_word_is_kept_out_at_its_last_token(logits: torch.Tensor) -> None:
    top = int(logits.argmax())
    rows = logits.unsqueeze(0)
    assert sample(rows, sequence(temperature=0)) == [top]
    assert sample(rows, sequence(temperature=0, bad_words=((top,),))) != [top]
    # Of a word of two tokens the second is kept out, only after the first.
    pair = ((9, top),)
    assert sample(rows, sequence([9], temperature=0, bad_words=pair)) != [top]
    assert sample(rows, sequence([8], temperature=0, bad_words=pair)) == [top]


def test_what_is_kept_out_follows_from_the_text_so_that_a_replay_repeats_it(
    logits: torch.Tensor,
) -> None:
    """A sequence that was made of what an earlier engine emitted, and one that emitted it."""
    params = {"seed": 5, "bad_words": ((9, 3), (4,)), "allowed_token_ids": tuple(range(50))}
    emitted: list[int] = []
    for _ in range(6):
        emitted += sample(logits.unsqueeze(0), sequence(list(emitted), **params))
    again = sample(logits.unsqueeze(0), sequence(emitted[:5], **params))
    assert again == emitted[5:]


def shifted_anew(scores: torch.Tensor, sequence: Sequence) -> torch.Tensor:
    """What the logits of one row become, from the whole sequence: the reference."""
    params, output = sequence.params, sequence.output
    scores = scores.clone()
    if params.repetition_penalty != 1.0:
        seen = torch.tensor(sorted(set(sequence.tokens)))
        values = scores[seen]
        penalty = params.repetition_penalty
        scores[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if (params.presence_penalty or params.frequency_penalty) and output:
        counts = Counter(output)
        ids, often = torch.tensor(list(counts)), torch.tensor(list(counts.values()))
        scores[ids] -= params.presence_penalty + params.frequency_penalty * often
    for token, bias in params.logit_bias.items():
        scores[token] += bias
    if len(output) < params.min_tokens:
        scores[list(params.stop_token_ids)] = -torch.inf
    if params.allowed_token_ids:
        banned = torch.ones(scores.numel(), dtype=torch.bool)
        banned[list(params.allowed_token_ids)] = False
        scores[banned] = -torch.inf
    for word in params.bad_words:
        if len(word) == 1 or tuple(output[1 - len(word) :]) == word[:-1]:
            scores[word[-1]] = -torch.inf
    return scores


FEW = st.integers(0, 11)
PENALTIES = st.sampled_from([0.0, 0.0, 0.3, -0.7, 2.0])
PARAMS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.0, 0.8]),
        "seed": st.integers(0, 99),
        "repetition_penalty": st.sampled_from([1.0, 1.0, 1.1, 1.7, 0.6]),
        "presence_penalty": PENALTIES,
        "frequency_penalty": PENALTIES,
        "logit_bias": st.dictionaries(FEW, st.floats(-9, 9, width=32), max_size=3),
        "min_tokens": st.integers(0, 4),
        "stop_token_ids": st.sampled_from([(), (2,), (2, 3)]),
        "allowed_token_ids": st.sampled_from([(), (), tuple(range(0, 12, 2)), (1, 2, 3, 4)]),
        "bad_words": st.lists(st.lists(FEW, min_size=1, max_size=3).map(tuple), max_size=2).map(
            tuple
        ),
        "logprobs": st.sampled_from([None, None, 0]),
    }
)


@given(
    rows=st.lists(
        st.tuples(PARAMS, st.lists(FEW, min_size=1, max_size=9), st.lists(FEW, max_size=6)),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_is_kept_from_step_to_step_is_what_the_whole_sequence_says(
    rows: list[tuple[dict[str, Any], list[int], list[int]]], seed: int, dtype: torch.dtype
) -> None:
    """Random params, prompts and replays, in one batch, over several steps."""
    sequences = [
        Sequence(1, prompt, SamplingParams(max_tokens=99, **params), emitted)
        for params, prompt, emitted in rows
    ]
    generator = torch.Generator().manual_seed(seed)
    sampler = Sampler(TorchOps())
    for _ in range(5):
        logits = (torch.randn(len(sequences), 12, generator=generator) * 3).to(dtype)
        before = logits.clone()
        want = [shifted_anew(logits[i].float(), s) for i, s in enumerate(sequences)]
        got = logits.float().clone()
        sampler_module._shift(got, [s.sampling for s in sequences])
        assert torch.equal(got, torch.stack(want))
        done = sampler.sample(logits, [s.sampling for s in sequences])
        assert torch.equal(logits, before)
        for sequence, scores, token in zip(sequences, want, done.tokens, strict=True):
            if bool((scores == -torch.inf).all()):
                assert token == NO_TOKEN
            elif sequence.params.temperature == 0:
                assert token == int(scores.argmax())
            else:
                assert scores[token] > -torch.inf
        sequences = [s for s, token in zip(sequences, done.tokens, strict=True) if token >= 0]
        for sequence, token in zip(
            sequences, [token for token in done.tokens if token >= 0], strict=True
        ):
            sequence.extend([token])
            assert sequence.sampling.num_output == sequence.num_output
        if not sequences:
            return


@given(
    rows=st.lists(
        st.tuples(PARAMS, st.lists(FEW, min_size=1, max_size=9), st.lists(FEW, max_size=6)),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_kernels_choose_what_torch_chooses(
    rows: list[tuple[dict[str, Any], list[int], list[int]]], seed: int, dtype: torch.dtype
) -> None:
    """Rows that a kernel chooses beside those that it does not, over several steps."""
    kernels = make_ops(torch.device("cpu"), dtype)
    if not isinstance(kernels, NativeOps):
        pytest.skip("no C compiler on this machine: torch operations are used")
    by_kernel, by_torch = (
        [SamplingState(SamplingParams(max_tokens=99, **p), prompt, out) for p, prompt, out in rows]
        for _ in range(2)
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(5):
        logits = torch.randn(len(rows), 12, generator=generator) * 3
        logits = (logits.round() if seed % 2 else logits).to(dtype)  # whole numbers make equals
        got = Sampler(kernels).sample(logits, by_kernel)
        want = Sampler(TorchOps()).sample(logits, by_torch)
        assert got.tokens == want.tokens
        assert got.logprobs == want.logprobs


def test_rows_are_the_kernels_but_for_long_lists_and_allowed_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = make_ops(torch.device("cpu"), torch.float32)
    if not isinstance(kernels, NativeOps):
        pytest.skip("no C compiler on this machine: torch operations are used")
    logits = torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(2))
    slow: list[int] = []
    choose = Sampler._choose

    def counting(self: Sampler, rows: torch.Tensor, of: list[SamplingState]) -> Any:
        slow.append(len(of))
        return choose(self, rows, of)

    monkeypatch.setattr(Sampler, "_choose", counting)
    penalised = {"repetition_penalty": 1.3, "presence_penalty": 0.5, "logit_bias": {3: 1.0}}
    greedy = [
        sequence([1, 2], temperature=0.0, **penalised),
        sequence([1], temperature=0.0, min_tokens=4, stop_token_ids=(2,)),
        sequence([1], temperature=0.0, bad_words=((4, 5), (6,))),
        sequence(temperature=0.0),
    ]
    Sampler(kernels).sample(logits, states(*greedy))
    assert slow == []
    Sampler(kernels).sample(logits, states(sequence(seed=1), sequence(top_k=3), *greedy[2:]))
    assert slow == []
    allowed = sequence(temperature=0.0, allowed_token_ids=(1, 2))
    Sampler(kernels).sample(logits, states(*greedy[:2], allowed, greedy[3]))
    assert slow == [1]
    many = sequence(temperature=0.0, bad_words=tuple((token,) for token in range(100)))
    Sampler(kernels).sample(logits[:1], states(many))
    assert slow == [1, 1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "params",
    [
        {"allowed_token_ids": (3,), "bad_words": ((3,),)},
        {"allowed_token_ids": (3, 4), "stop_token_ids": (3, 4), "min_tokens": 2},
        {"bad_words": tuple((token,) for token in range(VOCAB))},
    ],
    ids=["allowed and bad words", "allowed and min_tokens", "bad words"],
)
def test_a_row_without_a_token_left_gives_none_and_leaves_the_others_alone(
    logits: torch.Tensor, temperature: float, params: dict[str, Any]
) -> None:
    rows = torch.stack([logits, logits, logits])
    mine = states(sequence(temperature=temperature, seed=1, logprobs=1, **params))[0]
    others = states(*(sequence(temperature=temperature, seed=i) for i in (2, 3)))
    done = Sampler(OPS[0]).sample(rows, [others[0], mine, others[1]])
    assert done.tokens[1] == NO_TOKEN
    assert done.logprobs[1] is None
    assert mine.num_output == 0
    assert [done.tokens[0], done.tokens[2]] == sample(
        rows[:2], *(sequence(temperature=temperature, seed=i) for i in (2, 3))
    )


@pytest.mark.parametrize("fill", [-torch.inf, torch.inf, torch.nan])
@pytest.mark.parametrize(
    "params", [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 0.0, "min_tokens": 2}]
)
def test_logits_without_a_finite_largest_are_the_models_fault(
    logits: torch.Tensor, fill: float, params: dict[str, Any]
) -> None:
    rows = torch.stack([logits, torch.full_like(logits, fill)])
    mine = [sequence(seed=i, stop_token_ids=(2,), **params) for i in range(2)]
    got = sample(rows, *mine)
    assert got[1] == BAD_LOGITS
    assert got[0] == sample(rows[:1], mine[0])[0]


def test_ids_that_the_model_has_no_logit_for_shift_no_other_row(logits: torch.Tensor) -> None:
    """A tokenizer can name more tokens than the model has."""
    rows = torch.stack([logits, logits])
    beyond = {"stop_token_ids": (VOCAB, VOCAB + 7), "min_tokens": 3, "repetition_penalty": 1.3}
    mine = Sequence(
        1, [VOCAB + 5], SamplingParams(max_tokens=9, temperature=0.0, **beyond), [VOCAB + 9]
    )
    other = sequence(temperature=0.0, logprobs=0)
    assert sample(rows, mine, other) == [int(logits.argmax())] * 2
