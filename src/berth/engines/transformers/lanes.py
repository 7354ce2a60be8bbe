"""Sequences that are computed together, in one cache that is padded on the left.

A lane begins as one sequence. Lanes join if their caches are of a kind that can be put side by
side; of others, each sequence keeps a lane of its own. A row that leaves gives its memory back at
once, and so do columns that no row needs any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from berth.engines.host.sequence import Sequence
from berth.engines.transformers.model import State

# A row is padded by at most this many columns, or by as many as it has tokens.
_PADDING = 256


@dataclass(slots=True, eq=False)
class Lane:
    """Rows of one cache. A row's tokens are its last `num_computed` columns."""

    sequences: list[Sequence]
    state: State = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Columns of the cache."""
        return max((sequence.num_computed for sequence in self.sequences), default=0)

    @property
    def size(self) -> int:
        """Tokens' worth of memory, padding included."""
        return self.width * len(self.sequences)

    def suits(self, length: int) -> bool:
        """Whether a sequence of this length may join without much padding."""
        short, long = sorted((self.width, length))
        return long - short <= max(_PADDING, short)

    def join(self, other: Lane) -> None:
        """Take over the other lane's rows. Both caches must be `joinable`."""
        width = max(self.width, other.width)
        mine, theirs = self.state["past_key_values"], other.state["past_key_values"]
        for here, there in zip(mine.layers, theirs.layers, strict=True):
            if not here.is_initialized:  # it reads another layer's keys
                continue
            columns = _columns(here, width)
            here.keys = torch.cat([_padded(x.keys, columns) for x in (here, there)])
            here.values = torch.cat([_padded(x.values, columns) for x in (here, there)])
            there.keys = there.values = None
            _set_length(here, width)
        self.sequences.extend(other.sequences)

    def drop(self, request_ids: Iterable[int]) -> list[Sequence]:
        """Take these sequences out; returns them. Their memory is free on return."""
        wanted = set(request_ids)
        rows = [i for i, s in enumerate(self.sequences) if s.request_id not in wanted]
        if len(rows) == len(self.sequences):
            return []
        dropped = [s for s in self.sequences if s.request_id in wanted]
        self.sequences = [self.sequences[row] for row in rows]
        if not rows:
            self.state = {}
            return dropped
        width = self.width
        for layer in self.state["past_key_values"].layers:
            if layer.is_initialized:
                columns = _columns(layer, width)
                keys, values = layer.keys[rows], layer.values[rows]  # copies: the old ones go
                layer.keys, layer.values = _last(keys, columns), _last(values, columns)
                _set_length(layer, width)
        return dropped


def joinable(state: State) -> bool:
    """Whether rows of such a cache can be put side by side: keys and values by position alone."""
    cache: Any = state.get("past_key_values")
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    return type(cache) is DynamicCache and all(type(layer) in kinds for layer in cache.layers)


def _columns(layer: DynamicLayer, width: int) -> int:
    """How many columns this layer keeps of a lane's."""
    if isinstance(layer, DynamicSlidingWindowLayer):
        return min(width, layer.sliding_window - 1)
    return width


def _set_length(layer: DynamicLayer, width: int) -> None:
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length = width


def _padded(tensor: torch.Tensor, columns: int) -> torch.Tensor:
    """[rows, heads, n, head_dim], with zeros before, so that n is `columns`."""
    return torch.nn.functional.pad(tensor, (0, 0, columns - tensor.shape[-2], 0))


def _last(tensor: torch.Tensor, columns: int) -> torch.Tensor:
    if tensor.shape[-2] == columns:
        return tensor
    return tensor[..., tensor.shape[-2] - columns :, :].contiguous()
