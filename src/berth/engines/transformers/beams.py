"""Diverse beam search (Vijayakumar and others, 2016), which transformers 5 no longer has itself.

Given to `generate` as its decoding method, which prepares inputs, cache, logits processors and
stopping criteria as for its own. One prompt; beams in groups that are advanced one after the other
in each step; a later group pays `diversity_penalty` for each beam of an earlier one that has just
chosen the same token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.generation.utils import ALL_CACHE_NAMES


@dataclass(slots=True)
class _Group:
    """Some beams that compete with each other alone, and their finished sequences."""

    size: int
    scores: torch.Tensor  # [size], sums of log probabilities of the running beams
    finished: list[tuple[float, torch.Tensor]] = field(default_factory=list)  # best first
    done: bool = False

    def finish(self, score: float, tokens: torch.Tensor) -> None:
        """Keep a finished sequence if it is among the best."""
        self.finished.append((score, tokens))
        self.finished.sort(key=lambda entry: -entry[0])
        del self.finished[self.size :]

    def judge(self, early: bool | str, penalty: float, length: int, longest: int) -> None:
        """Whether nothing that runs can still become better than what is finished."""
        if len(self.finished) < self.size:
            return
        reach = longest if early == "never" and penalty > 0 else length
        best = float(self.scores.max()) / max(reach, 1) ** penalty
        self.done = early is True or self.finished[-1][0] >= best


def diverse_beam_search(
    model: Any,
    input_ids: torch.Tensor,
    *,
    num_beam_groups: int,
    diversity_penalty: float,
    logits_processor: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    stopping_criteria: Callable[[torch.Tensor, None], torch.Tensor],
    generation_config: Any,
    **model_kwargs: Any,
) -> torch.Tensor:
    """Sequences [num_return_sequences, length], best first, padded on the right.

    Args:
        input_ids: the prompt, once for each beam: [num_beams, prompt].
    """
    beams, prompt = input_ids.shape
    size = beams // num_beam_groups
    eos = generation_config._eos_token_tensor
    stops = [] if eos is None else eos.tolist()
    penalty = generation_config.length_penalty
    groups = []
    for _ in range(num_beam_groups):
        scores = torch.full((size,), -1e9, device=input_ids.device)
        scores[0] = 0.0  # all beams are the same at first: only one of them counts
        groups.append(_Group(size, scores))
    outputs = model._prefill(input_ids, generation_config, model_kwargs)
    while True:
        model_kwargs = model._update_model_kwargs_for_generation(outputs, model_kwargs)
        logprobs = outputs.logits[:, -1].float().log_softmax(dim=-1).to(input_ids.device)
        del outputs
        chosen: list[torch.Tensor] = []  # tokens of the groups before
        origins: list[torch.Tensor] = []
        for number, group in enumerate(groups):
            rows = slice(number * size, (number + 1) * size)
            scores = logprobs[rows]
            if chosen:
                often = torch.bincount(torch.cat(chosen), minlength=scores.shape[-1])
                scores = scores - diversity_penalty * often
            scores = logits_processor(input_ids[rows], scores) + group.scores[:, None]
            tokens, origin = _advance(group, scores, input_ids[rows], stops, prompt, penalty)
            chosen.append(tokens)
            origins.append(origin + rows.start)
        origin = torch.cat(origins)
        input_ids = torch.cat([input_ids[origin], torch.cat(chosen)[:, None]], dim=-1)
        length = input_ids.shape[1] - prompt
        for group in groups:
            if not group.done:
                early = generation_config.early_stopping
                group.judge(early, penalty, length, generation_config.max_length - prompt)
        if all(group.done for group in groups) or bool(stopping_criteria(input_ids, None).all()):
            break
        for name in ALL_CACHE_NAMES:
            if model_kwargs.get(name) is not None:
                model_kwargs[name].reorder_cache(origin)
        inputs = model.prepare_inputs_for_generation(
            input_ids, next_sequence_length=1, **model_kwargs
        )
        outputs = model(**inputs, return_dict=True)
    for number, group in enumerate(groups):
        if not group.done:
            for row in range(size):
                score = float(group.scores[row]) / length**penalty
                group.finish(score, input_ids[number * size + row])
    best = sorted((entry for group in groups for entry in group.finished), key=lambda e: -e[0])
    rows_out = [tokens for _, tokens in best[: generation_config.num_return_sequences]]
    pad = stops[0] if stops else 0
    return torch.nn.utils.rnn.pad_sequence(rows_out, batch_first=True, padding_value=pad)


def _advance(
    group: _Group,
    scores: torch.Tensor,
    sequences: torch.Tensor,
    stops: list[int],
    prompt: int,
    penalty: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The group's next tokens [size] and the rows [size] that they follow; ends what has ended."""
    size, vocab = scores.shape
    wanted = min(max(2, 1 + len(stops)) * size, scores.numel())
    values, places = scores.flatten().topk(wanted)
    length = sequences.shape[1] + 1 - prompt
    kept: list[int] = []
    for rank, (value, place) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
        row, token = divmod(place, vocab)
        if token in stops:
            # Only what is among the best `size` counts as a finished sequence.
            if rank < size and not group.done and value > -1e8:
                ended = torch.cat([sequences[row], sequences.new_tensor([token])])
                group.finish(value / length**penalty, ended)
        else:
            kept.append(rank)
        if len(kept) == size:
            break
    kept += kept[-1:] * (size - len(kept)) if kept else [0] * size
    group.scores = values[kept]
    return places[kept] % vocab, places[kept] // vocab
