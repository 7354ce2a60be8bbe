"""Choosing the next token of every sequence of a step. Rank 0 only.

The order is Hugging Face's: logit bias and penalties, temperature, top-k, top-p, min-p. What is
left is sampled by inverting its distribution at one uniform number (randomness.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch

from berth.engine.randomness import uniform
from berth.engine.sequence import Sequence
from berth.kernels.ops import TorchOps
from berth.protocol.messages import SamplingParams, TokenLogprob

# Sorting a vocabulary costs far more than finding its first hundreds, where nearly all of the
# probability is; only rows for which that many do not reach top_p are sorted whole.
CANDIDATES = 256

BAD_LOGITS = -1  # in place of a token: the model gave NaN


@dataclass(slots=True)
class Sampled:
    """One token per sequence (BAD_LOGITS where there is none), and logprobs where asked for."""

    tokens: list[int]
    logprobs: list[TokenLogprob | None]


class Sampler:
    """Samples rows of logits [n, vocab], row i for sequences[i]."""

    def __init__(self, ops: TorchOps) -> None:
        self.ops = ops

    def sample(self, logits: torch.Tensor, sequences: Seq[Sequence]) -> Sampled:
        """Raises nothing on NaN or infinite logits: those rows get BAD_LOGITS."""
        params = [sequence.params for sequence in sequences]
        if all(_is_plain_greedy(p, s) for p, s in zip(params, sequences, strict=True)):
            return Sampled(self.ops.argmax(logits).tolist(), [None] * len(sequences))
        raw = logits.float()
        scores = raw
        if any(_is_shifted(p, s) for p, s in zip(params, sequences, strict=True)):
            scores = raw.clone()
            for row, sequence in enumerate(sequences):
                _shift(scores[row], sequence)
        tokens = self._choose(scores, sequences)
        for row, bad in enumerate(raw.isnan().any(dim=-1).tolist()):
            if bad:
                tokens[row] = BAD_LOGITS
        return Sampled(tokens, self._logprobs(raw, params, tokens))

    def _choose(self, scores: torch.Tensor, sequences: Seq[Sequence]) -> list[int]:
        tokens: list[int] = scores.argmax(dim=-1).tolist()
        rows = [r for r, s in enumerate(sequences) if s.params.temperature > 0]
        if not rows:
            return tokens
        params = [sequences[r].params for r in rows]
        draws = [uniform(sequences[r].params.seed, sequences[r].num_output) for r in rows]
        temperature = _column([p.temperature for p in params], scores)
        # A tiny temperature must not make inf - inf: shift to a peak of 0 first.
        chosen = scores[rows] if len(rows) < len(sequences) else scores
        chosen = (chosen - chosen.amax(dim=-1, keepdim=True)) / temperature
        picked = _invert(torch.softmax(chosen, dim=-1), params, draws)
        for row, token in zip(rows, picked, strict=True):
            tokens[row] = token
        return tokens

    def _logprobs(
        self, raw: torch.Tensor, params: Seq[SamplingParams], tokens: list[int]
    ) -> list[TokenLogprob | None]:
        result: list[TokenLogprob | None] = [None] * len(params)
        for row, p in enumerate(params):
            if p.logprobs is not None and tokens[row] != BAD_LOGITS:
                result[row] = token_logprob(raw[row], tokens[row], p.logprobs)
        return result


def token_logprob(logits: torch.Tensor, token: int, alternatives: int) -> TokenLogprob:
    """What the model thought of `token`, and its `alternatives` favourites. logits: [vocab]."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    top: list[tuple[int, float]] = []
    if alternatives:
        values, ids = logprobs.topk(min(alternatives, logprobs.numel()))
        top = list(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(token, float(logprobs[token]), top)


def _is_plain_greedy(params: SamplingParams, sequence: Sequence) -> bool:
    return params.temperature == 0 and params.logprobs is None and not _is_shifted(params, sequence)


def _is_shifted(params: SamplingParams, sequence: Sequence) -> bool:
    return bool(
        params.logit_bias
        or params.repetition_penalty != 1.0
        or params.presence_penalty != 0.0
        or params.frequency_penalty != 0.0
        or sequence.num_output < params.min_tokens
        or params.allowed_token_ids
        or params.bad_words
    )


def _shift(scores: torch.Tensor, sequence: Sequence) -> None:
    """Apply bias, penalties and min_tokens to one row, in place. scores: float32 [vocab]."""
    params = sequence.params
    if params.repetition_penalty != 1.0:
        seen = torch.tensor(sorted(set(sequence.tokens)), device=scores.device)
        values = scores[seen]
        scores[seen] = torch.where(
            values > 0, values / params.repetition_penalty, values * params.repetition_penalty
        )
    if (params.presence_penalty or params.frequency_penalty) and sequence.num_output:
        counts = Counter(sequence.output)
        ids = torch.tensor(list(counts), device=scores.device)
        often = torch.tensor(list(counts.values()), device=scores.device)
        scores[ids] -= params.presence_penalty + params.frequency_penalty * often
    if params.logit_bias:
        ids = torch.tensor(list(params.logit_bias), device=scores.device)
        scores[ids] += torch.tensor(list(params.logit_bias.values()), device=scores.device)
    if sequence.num_output < params.min_tokens:
        scores[list(params.stop_token_ids)] = -torch.inf
    if params.allowed_token_ids:
        allowed = torch.tensor(params.allowed_token_ids, device=scores.device)
        kept = scores[allowed]
        scores.fill_(-torch.inf)
        scores[allowed] = kept
    if params.bad_words:
        # A word is kept out at its last token: only there is it known to be that word.
        output = sequence.output
        for word in params.bad_words:
            begun = len(word) - 1
            if begun == 0 or tuple(output[-begun:]) == tuple(word[:-1]):
                scores[word[-1]] = -torch.inf


def _column(values: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)


def _invert(probs: torch.Tensor, params: Seq[SamplingParams], draws: Seq[float]) -> list[int]:
    """Sample each row of probs [n, vocab] from what top-k, top-p and min-p leave of it.

    How a row is sampled depends on the row alone, never on what else is in the batch.
    """
    result = [0] * len(params)
    ranked = [r for r, p in enumerate(params) if p.top_k > 0 or p.top_p < 1]
    others = [r for r, p in enumerate(params) if not (p.top_k > 0 or p.top_p < 1)]
    if others:
        part = [params[r] for r in others]
        for row, token in zip(
            others, _pick_any(probs[others], part, [draws[r] for r in others]), strict=True
        ):
            result[row] = token
    if ranked:
        part = [params[r] for r in ranked]
        for row, token in zip(
            ranked, _pick_ranked(probs[ranked], part, [draws[r] for r in ranked]), strict=True
        ):
            result[row] = token
    return result


def _pick_any(probs: torch.Tensor, params: Seq[SamplingParams], draws: Seq[float]) -> list[int]:
    """Without top-k and top-p there is nothing to rank: the vocabulary's own order will do."""
    if any(p.min_p > 0 for p in params):
        floor = _column([p.min_p for p in params], probs) * probs.amax(dim=-1, keepdim=True)
        probs = probs.masked_fill(probs < floor, 0.0)
    sums = probs.double().cumsum(dim=-1)
    target = _column(list(draws), sums) * sums[:, -1:]
    picked: list[int] = torch.searchsorted(sums, target, right=True).squeeze(1).tolist()
    return [min(token, probs.shape[-1] - 1) for token in picked]


def _pick_ranked(probs: torch.Tensor, params: Seq[SamplingParams], draws: Seq[float]) -> list[int]:
    vocab = probs.shape[-1]
    count = min(vocab, max(CANDIDATES, max(p.top_k for p in params)))
    values, ids = probs.topk(count, dim=-1)
    reached = values.sum(dim=-1).tolist()
    if all(_enough(p, count, vocab, mass) for p, mass in zip(params, reached, strict=True)):
        return _pick(values, ids, params, draws)
    values, ids = probs.sort(dim=-1, descending=True, stable=True)
    return _pick(values, ids, params, draws)


def _enough(params: SamplingParams, count: int, vocab: int, reached: float) -> bool:
    """Whether the `count` most probable tokens hold everything the filters can leave."""
    return count == vocab or 0 < params.top_k <= count or reached > params.top_p


def _pick(
    values: torch.Tensor, ids: torch.Tensor, params: Seq[SamplingParams], draws: Seq[float]
) -> list[int]:
    """values: probabilities in descending order [n, m], ids: their tokens."""
    values = values.double()  # thousands of small terms are added up
    before = values.cumsum(dim=-1) - values  # what is more probable than this one
    rank = torch.arange(values.shape[-1], device=values.device)
    top_k = _column([p.top_k if p.top_k > 0 else values.shape[-1] for p in params], values)
    top_p = _column([p.top_p for p in params], values)
    min_p = _column([p.min_p for p in params], values)
    # top-p keeps tokens until their sum reaches it, of what top-k has left (renormalised).
    kept = values.masked_fill(rank >= top_k, 0.0)
    total = kept.sum(dim=-1, keepdim=True)
    keep = (rank < top_k) & (before < top_p * total) & (values >= min_p * values[:, :1])
    keep[:, 0] = True
    kept = values.masked_fill(~keep, 0.0).cumsum(dim=-1)
    target = _column(list(draws), values) * kept[:, -1:]
    index = (kept <= target).sum(dim=-1, keepdim=True).clamp_(max=values.shape[-1] - 1)
    picked: list[int] = ids.gather(1, index).squeeze(1).tolist()
    return picked
