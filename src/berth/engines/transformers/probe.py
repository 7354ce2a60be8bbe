"""What a loaded model can do, found out by asking it: a dozen tiny passes before it serves.

Thousands of architectures behind one interface do not all keep its promises. Whether cached steps
give what the whole sequence gives, whether a prompt may be cut into chunks, and whether padded rows
of a batch leave each other alone, is measured here, and what fails is not used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from berth.engines.host.sequence import Sequence
from berth.engines.transformers.lanes import Lane, joinable
from berth.engines.transformers.model import CausalModel, State
from berth.protocol.messages import SamplingParams

log = logging.getLogger(__name__)

_LENGTHS = (5, 11)  # tokens of the two prompts
_STEPS = 3  # rows of logits that are compared: the prompt's last, and after two more tokens
_CHUNK = 4
# Of the spread of a row's logits. Rounding is far below, a wrong mask or position far above.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
_ROUGH_TOLERANCE = 5e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What the engine may rely on."""

    vocab_size: int
    steps: bool  # a cache, and the same logits with it as without
    chunks: bool  # a prompt in several passes
    batches: bool  # several sequences in one pass
    bytes_per_token: dict[torch.device, int]  # of one sequence's cache, by device
    bytes_per_sequence: dict[torch.device, int]  # beside that, however long it is


def probe(model: CausalModel) -> Abilities:
    """Raises what the model's own forward pass raises on a plain sequence."""
    vocab = int(model.whole([0, 1]).shape[-1])
    embeddings = model.model.get_input_embeddings()
    known = min(vocab, getattr(embeddings, "num_embeddings", vocab))
    generator = torch.Generator().manual_seed(0)
    low = min(10, known // 2)
    texts = [
        torch.randint(low, min(known, 1000), (n + _STEPS - 1,), generator=generator).tolist()
        for n in _LENGTHS
    ]
    whole = [model.whole(text)[length - 1 :] for text, length in zip(texts, _LENGTHS, strict=True)]
    tolerance = _TOLERANCE.get(model.model.dtype, _ROUGH_TOLERANCE)

    def holds(what: str, attempt: Callable[[], list[torch.Tensor]]) -> bool:
        try:
            got = attempt()
        except Exception as error:
            log.info("%s: not with this model (%s: %s)", what, type(error).__name__, error)
            return False
        worst = max(map(_distance, got, whole))
        if worst > tolerance:
            log.info("%s: not with this model (logits differ by %.2g)", what, worst)
        return worst <= tolerance

    steps = holds("a cache", lambda: [_stepwise(model, [text])[0] for text in texts])
    state = _computed(model, texts[1][: _LENGTHS[1]], _LENGTHS[1])[1] if steps else {}
    batches = (
        steps
        and not model.rows_interact
        and joinable(state)
        and holds("batches", lambda: _stepwise(model, texts))
    )
    chunks = (
        steps
        and not model.rows_interact  # a chunk would be rotated for a shorter sequence
        and joinable(state)
        and holds("chunks", lambda: [_chunked(model, text) for text in texts])
    )
    if steps:
        short = _memory(_computed(model, texts[0][: _LENGTHS[0]], _LENGTHS[0])[1])
        long = _memory(state)
    else:
        short = long = {}
    span = _LENGTHS[1] - _LENGTHS[0]
    slope = {device: max(0, long[device] - short.get(device, 0)) // span for device in long}
    return Abilities(
        vocab_size=known,
        steps=steps,
        chunks=chunks,
        batches=batches,
        bytes_per_token=slope,
        bytes_per_sequence={d: max(0, long[d] - slope[d] * _LENGTHS[1]) for d in long},
    )


def _distance(got: torch.Tensor, want: torch.Tensor) -> float:
    """The largest difference, as a share of the spread of its row."""
    spread = (want.amax(-1) - want.amin(-1)).clamp_min(1e-6)
    share = ((got.to(want.device) - want).abs().amax(-1) / spread).max()
    return float(share.nan_to_num(nan=torch.inf))


def _computed(model: CausalModel, tokens: list[int], chunk: int) -> tuple[torch.Tensor, State]:
    """The last logits and the cache after these tokens, `chunk` at a time."""
    state, logits = model.new_state(), torch.empty(0)
    for start in range(0, len(tokens), chunk):
        part = tokens[start : start + chunk]
        logits, state = model.step([part], state, computed=[start])
    return logits[0], state


def _stepwise(model: CausalModel, texts: list[list[int]]) -> list[torch.Tensor]:
    """Prompts alone, then the rest of all of them together, token by token."""
    lane: Lane | None = None
    rows: list[list[torch.Tensor]] = [[] for _ in texts]
    for number, text in enumerate(texts):
        length = len(text) - _STEPS + 1
        logits, state = _computed(model, text[:length], length)
        rows[number].append(logits)
        sequence = Sequence(number, text, SamplingParams(max_tokens=1))
        sequence.num_computed = length
        if lane is None:
            lane = Lane([sequence], state)
        else:
            lane.join(Lane([sequence], state))
    assert lane is not None
    for _ in range(_STEPS - 1):
        tokens = [[s.tokens[s.num_computed]] for s in lane.sequences]
        computed = [s.num_computed for s in lane.sequences]
        logits, lane.state = model.step(tokens, lane.state, computed=computed)
        for number, sequence in enumerate(lane.sequences):
            rows[number].append(logits[number])
            sequence.num_computed += 1
    return [torch.cat(row) for row in rows]


def _chunked(model: CausalModel, text: list[int]) -> torch.Tensor:
    return torch.cat(
        [
            _computed(model, text[: len(text) - left], _CHUNK)[0]
            for left in range(_STEPS - 1, -1, -1)
        ]
    )


def _memory(state: State) -> dict[torch.device, int]:
    """Bytes of a cache's tensors, by device."""
    found: dict[torch.device, int] = {}
    for tensor in _tensors(state, set()):
        size = tensor.numel() * tensor.element_size()
        found[tensor.device] = found.get(tensor.device, 0) + size
    return found


def _tensors(value: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    if id(value) in seen or value is None or isinstance(value, str | int | float | bool | type):
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item, seen)
    elif type(value).__module__.startswith("transformers") and hasattr(value, "__dict__"):
        yield from _tensors(vars(value), seen)
