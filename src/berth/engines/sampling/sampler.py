"""Choosing the next token of every sequence of a step. Rank 0 only.

The order is Hugging Face's: penalties and logit bias, temperature, top-k, top-p, min-p. What is
left is sampled by inverting its distribution at one uniform number (randomness.py). What a choice
depends on beside the logits is the sequence's SamplingState, which takes in each token chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch

from berth.engines.sampling.randomness import uniform
from berth.engines.sampling.state import SamplingState
from berth.kernels.native_ops import NativeOps
from berth.kernels.ops import TorchOps
from berth.protocol.messages import Delta, SamplingParams, TokenLogprob

# Sorting a vocabulary costs far more than finding its first hundreds, which have nearly all of the
# probability; only rows for which that many do not reach top_p are sorted whole.
CANDIDATES = 256

# In place of a token. No token is negative. The kernel has the same two (kernels/choose.h).
BAD_LOGITS = -1  # the model gave NaN, infinity, or no finite number at all
NO_TOKEN = -2  # what the request keeps out leaves no token
BAD_LOGITS_ERROR = "the model gave logits that are not numbers"


def failed(request_id: int, token: int, params: SamplingParams) -> Delta:
    """How a sequence ends for which `sample` gave BAD_LOGITS or NO_TOKEN."""
    if token == BAD_LOGITS:
        return Delta(request_id, [], "error", error=BAD_LOGITS_ERROR)
    names = [
        name for name in ("allowed_token_ids", "bad_words", "min_tokens") if getattr(params, name)
    ]
    reason = f"{' and '.join(names) or 'its bans'} leave no token that may come next"
    return Delta(request_id, [], "error", error=reason, refused=True)


@dataclass(slots=True)
class Sampled:
    """One token per sequence (BAD_LOGITS or NO_TOKEN if there is none), and logprobs if
    asked for.
    """

    tokens: list[int]
    logprobs: list[TokenLogprob | None]


class Sampler:
    """Samples rows of logits [n, vocab], row i for states[i]."""

    def __init__(self, ops: TorchOps) -> None:
        self.ops = ops
        self._kernels = ops if isinstance(ops, NativeOps) else None

    def sample(self, logits: torch.Tensor, states: Seq[SamplingState]) -> Sampled:
        """Choose the next token of each, and take it into the state.

        Raises nothing on NaN or infinite logits: those rows get BAD_LOGITS. If all tokens are
        kept out, the row gets NO_TOKEN. Neither changes the state.
        """
        if all(state.plain_greedy for state in states):
            done = Sampled(self._largest(logits), [None] * len(states))
        elif self._kernels is not None and any(state.by_kernel for state in states):
            done = self._choose_by_kernel(self._kernels, logits, states)
        else:
            done = self._choose(logits, states)
        for state, token in zip(states, done.tokens, strict=True):
            if token >= 0:
                state.accept(token)
        return done

    def _largest(self, logits: torch.Tensor) -> list[int]:
        """The largest of each row as it is; every plain greedy step passes here."""
        found = self.ops.argmax(logits)
        tokens: list[int] = found.tolist()
        if min(tokens, default=0) < 0:  # a row has a NaN
            found = found.clamp(min=0)
        largest = logits.gather(1, found.unsqueeze(1))
        if not math.isfinite(largest.sum().item()):  # infinity is no number either
            for row, value in enumerate(largest.flatten().tolist()):
                if not math.isfinite(value):
                    tokens[row] = BAD_LOGITS
        return tokens

    def _choose_by_kernel(
        self, kernels: NativeOps, logits: torch.Tensor, states: Seq[SamplingState]
    ) -> Sampled:
        """The rows that the kernel can choose, and the others as without it."""
        rows = [row for row, state in enumerate(states) if state.by_kernel]
        mine = logits if len(rows) == len(states) else logits[rows]
        chosen = kernels.choose(mine, [states[row].shift() for row in rows])
        if len(rows) == len(states):
            return Sampled(chosen, _logprobs(logits, [state.params for state in states], chosen))
        others = [row for row, state in enumerate(states) if not state.by_kernel]
        done = Sampled([0] * len(states), [None] * len(states))
        logprobs = _logprobs(mine, [states[row].params for row in rows], chosen)
        for row, token, logprob in zip(rows, chosen, logprobs, strict=True):
            done.tokens[row], done.logprobs[row] = token, logprob
        slow = self._choose(logits[others], [states[row] for row in others])
        for row, token, logprob in zip(others, slow.tokens, slow.logprobs, strict=True):
            done.tokens[row], done.logprobs[row] = token, logprob
        return done

    def _choose(self, logits: torch.Tensor, states: Seq[SamplingState]) -> Sampled:
        params = [state.params for state in states]
        raw = logits.float()
        bad = (~raw.amax(dim=-1).isfinite()).tolist()  # the largest of a row with a NaN is NaN
        scores = raw
        shifted = any(state.shifted for state in states)
        if shifted:
            if raw is logits or any(p.logprobs is not None for p in params):
                scores = raw.clone(memory_format=torch.contiguous_format)
            else:
                scores = raw.contiguous()
            _shift(scores, states)
        if all(p.temperature == 0 for p in params):
            tokens = _argmax(scores)
        else:
            tokens = _draw(scores, states)
        if shifted:
            last = torch.tensor(tokens, device=scores.device).unsqueeze(1)
            for row, value in enumerate(scores.gather(1, last).flatten().tolist()):
                if value == -torch.inf and float(scores[row].amax()) == -torch.inf:
                    tokens[row] = NO_TOKEN
        for row in range(len(states)):
            if bad[row]:
                tokens[row] = BAD_LOGITS
        return Sampled(tokens, _logprobs(raw, params, tokens))


def _draw(scores: torch.Tensor, states: Seq[SamplingState]) -> list[int]:
    """Sample the rows that have a temperature; the others get their largest."""
    tokens = _argmax(scores)
    rows = [r for r, state in enumerate(states) if state.params.temperature > 0]
    params = [states[r].params for r in rows]
    draws = [uniform(states[r].params.seed, states[r].num_output) for r in rows]
    temperature = _column([p.temperature for p in params], scores)
    # A tiny temperature must not make inf - inf: shift to a peak of 0 first.
    chosen = scores[rows] if len(rows) < len(states) else scores
    chosen = (chosen - chosen.amax(dim=-1, keepdim=True)) / temperature
    picked = _invert(torch.softmax(chosen, dim=-1), params, draws)
    for row, token in zip(rows, picked, strict=True):
        tokens[row] = token
    return tokens


def _argmax(scores: torch.Tensor) -> list[int]:
    """The largest of each row, the first of equals. scores: float32 [n, vocab]."""
    if scores.device.type == "cpu":  # numpy's is vectorised: ten times as fast as torch's
        found: list[int] = scores.numpy().argmax(axis=-1).tolist()
        return found
    found = scores.argmax(dim=-1).tolist()
    return found


def _logprobs(
    raw: torch.Tensor, params: Seq[SamplingParams], tokens: list[int]
) -> list[TokenLogprob | None]:
    result: list[TokenLogprob | None] = [None] * len(params)
    for row, p in enumerate(params):
        if p.logprobs is not None and tokens[row] >= 0:
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


def _shift(scores: torch.Tensor, states: Seq[SamplingState]) -> None:
    """Apply penalties, bias and what is kept out to all rows, in place. scores: float32.

    Each kind touches the entries that it names, of all rows at once.
    """
    vocab = scores.shape[1]
    flat = scores.view(-1)
    for pick, larger in ((torch.minimum, True), (torch.maximum, False)):
        rows = [
            r
            for r, s in enumerate(states)
            if s.penalised is not None and (s.params.repetition_penalty >= 1.0) == larger
        ]
        _penalise(flat, vocab, states, rows, pick)
    biased = [(r, *s.bias) for r, s in enumerate(states) if s.bias is not None]
    if biased:
        at, values = _flat_index([(r, ids) for r, ids, _ in biased], vocab)
        added = np.concatenate([amounts for _, _, amounts in biased])[values]
        flat.scatter_add_(0, _on(at, flat), _on(added, flat))
    for row, state in enumerate(states):
        if state.allowed is not None:
            allowed = _on(state.allowed[state.allowed < vocab], flat)
            kept = scores[row, allowed]
            scores[row].fill_(-torch.inf)
            scores[row, allowed] = kept
    banned = [(r, s.banned()) for r, s in enumerate(states) if s.shifted]
    at, _ = _flat_index([(r, ids) for r, ids in banned if len(ids)], vocab)
    if len(at):
        flat.index_fill_(0, _on(at, flat), -torch.inf)


def _penalise(
    flat: torch.Tensor,
    vocab: int,
    states: Seq[SamplingState],
    rows: list[int],
    pick: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    """Penalties of these rows.

    A repeated token's logit is divided by the repetition penalty if it is positive, multiplied
    by it if not: of a penalty above 1 that is the smaller of the two (`pick`), below 1 the
    larger.
    """
    entries = []
    for row in rows:
        penalised = states[row].penalised
        if penalised is not None and penalised.length:
            entries.append((row, penalised.ids, penalised.amounts))
    if not entries:
        return
    index, inside = _flat_index([(row, ids) for row, ids, _ in entries], vocab)
    at = _on(index, flat)
    values = flat.index_select(0, at)
    factors = [states[row].params.repetition_penalty for row, _, _ in entries]
    if any(factor != 1.0 for factor in factors):
        lengths = [len(ids) for _, ids, _ in entries]
        often = _on(np.repeat(np.array(factors, dtype=np.float32), lengths)[inside], flat)
        values = pick(values / often, values * often)
    params = [states[row].params for row, _, _ in entries]
    if any(p.presence_penalty or p.frequency_penalty for p in params):
        values -= _on(np.concatenate([amounts for _, _, amounts in entries])[inside], flat)
    flat.scatter_(0, at, values)


def _flat_index(
    entries: Seq[tuple[int, np.ndarray]], vocab: int
) -> tuple[np.ndarray, np.ndarray | slice]:
    """Where the ids of each row lie in the flattened scores, and which of them have a logit.

    A tokenizer can name ids that the model has no logit for: those are left out.
    """
    if not entries:
        return np.empty(0, dtype=np.int64), slice(None)
    index = np.concatenate([ids + row * vocab for row, ids in entries])
    if all(int(ids.max(initial=0)) < vocab for _, ids in entries):
        return index, slice(None)
    inside = np.concatenate([ids < vocab for _, ids in entries])
    return index[inside], inside


def _on(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor if like.device.type == "cpu" else tensor.to(like.device, non_blocking=True)


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
