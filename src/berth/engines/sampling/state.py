"""What the choice of a sequence's next token depends on, beside its logits: kept from step to step.

`SamplingState(params, prompt, emitted)` knows a replay's `emitted` tokens from the start, and
`accept(token)` takes in one more. Nothing is computed anew from the whole sequence, so that a step
costs the same after 100 tokens as after 100,000 (but for the number of distinct ones, where torch
applies it).

Pure: numpy arrays on the host, which the sampler applies to a batch of logits at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from berth.engines.sampling.randomness import uniform
from berth.kernels.choose import SPREAD, Shift
from berth.protocol.messages import SamplingParams

_NO_IDS = np.empty(0, dtype=np.int64)
_FIRST_ROOM = 64  # entries; doubled when they are full
# Biases, and bans: the kernel goes through each list for every logit that may be the largest.
_SHORT = 64


class _Penalised:
    """Distinct token ids, and what is taken from the logit of each.

    An entry is found through a table of twice as many places by open addressing, so that one more
    token costs the same whatever is there. 24 to 48 bytes an entry, whatever the vocabulary.
    """

    __slots__ = (
        "_amounts",
        "_counts",
        "_frequency",
        "_ids",
        "_places",
        "_presence",
        "_views",
        "bits",
        "length",
    )

    def __init__(self, params: SamplingParams, prompt: list[int], output: list[int]) -> None:
        """`prompt`: the tokens of it that are penalised; all or none."""
        self._presence = float(np.float32(params.presence_penalty))
        self._frequency = float(np.float32(params.frequency_penalty))
        found = np.unique(np.array(prompt + output, dtype=np.int64))
        ids, counts = np.unique(np.array(output, dtype=np.int64), return_counts=True)
        self._ids = found
        self._counts = np.zeros(len(found), dtype=np.int32)
        self._amounts = np.zeros(len(found), dtype=np.float32)
        self.length = len(found)
        at = np.searchsorted(found, ids)
        self._counts[at] = counts
        amounts = np.float32(self._frequency) * counts.astype(np.float32)
        self._amounts[at] = amounts + np.float32(self._presence)
        self._make_room(max(self.length, _FIRST_ROOM))

    @property
    def ids(self) -> np.ndarray:
        """int64 [length]."""
        return self._ids[: self.length]

    @property
    def amounts(self) -> np.ndarray:
        """float32 [length]: presence + frequency * count; 0 for a token of the prompt alone."""
        return self._amounts[: self.length]

    def add(self, token: int) -> None:
        """One more output token."""
        places, ids, counts, amounts = self._views
        last = (1 << self.bits) - 1
        at = (token * SPREAD & 0xFFFFFFFF) >> (32 - self.bits)
        while (entry := places[at] - 1) >= 0 and ids[entry] != token:
            at = (at + 1) & last
        if entry < 0:
            if self.length == len(ids):
                self._make_room(2 * self.length)
                self.add(token)
                return
            entry = self.length
            self.length += 1
            ids[entry] = token
            places[at] = self.length
        counts[entry] += 1
        # A view rounds what it takes to float32: the product, then the sum, as torch would.
        amounts[entry] = self._frequency * counts[entry]
        amounts[entry] += self._presence

    def point(self, shift: Shift) -> None:
        """Let the kernel see the entries: until the next `add`."""
        if shift.bits != self.bits:  # other arrays
            shift.slots = self._places.ctypes.data
            shift.ids = self._ids.ctypes.data
            shift.amounts = self._amounts.ctypes.data
            shift.bits = self.bits
        shift.length = self.length

    def _make_room(self, wanted: int) -> None:
        """For `wanted` entries or more; every entry finds its place anew."""
        self.bits = (2 * wanted - 1).bit_length()
        more = (1 << (self.bits - 1)) - len(self._ids)
        self._ids = np.concatenate([self._ids, np.zeros(more, dtype=np.int64)])
        self._counts = np.concatenate([self._counts, np.zeros(more, dtype=np.int32)])
        self._amounts = np.concatenate([self._amounts, np.zeros(more, dtype=np.float32)])
        self._places = np.zeros(1 << self.bits, dtype=np.int32)
        entries = np.arange(1, self.length + 1, dtype=np.int32)
        at = (self.ids * SPREAD & 0xFFFFFFFF) >> (32 - self.bits)
        while len(entries):  # all at once: of those that meet at a free place one stays
            free = self._places[at] == 0
            self._places[at[free]] = entries[free]
            left = self._places[at] != entries
            entries, at = entries[left], (at[left] + 1) & ((1 << self.bits) - 1)
        # For `add`: numpy takes several times as long to read or write one number.
        arrays = self._places, self._ids, self._counts, self._amounts
        self._views: tuple[Any, ...] = tuple(array.data for array in arrays)


class SamplingState:
    """One sequence's; see above. Read by the sampler, which alone calls `accept`."""

    __slots__ = (
        "_bad_words",
        "_banned",
        "_plain",
        "_shift",
        "_tail",
        "_tail_length",
        "allowed",
        "bias",
        "by_kernel",
        "num_output",
        "params",
        "penalised",
        "shifts",
        "stops",
    )

    def __init__(
        self, params: SamplingParams, prompt: Iterable[int], emitted: Iterable[int] = ()
    ) -> None:
        """`emitted`: the output so far, of a replay."""
        output = list(emitted)
        self.params = params
        self.num_output = len(output)  # also the output position of the token chosen next
        self.penalised: _Penalised | None = None
        repeats = params.repetition_penalty != 1.0
        if repeats or params.presence_penalty or params.frequency_penalty:
            self.penalised = _Penalised(params, list(prompt) if repeats else [], output)
        self.bias: tuple[np.ndarray, np.ndarray] | None = None  # ids, what is added to their logits
        if params.logit_bias:
            self.bias = (
                np.array(list(params.logit_bias), dtype=np.int64),
                np.array(list(params.logit_bias.values()), dtype=np.float32),
            )
        self.stops = np.array(params.stop_token_ids, dtype=np.int64) if params.min_tokens else None
        self.allowed = (
            np.array(params.allowed_token_ids, dtype=np.int64) if params.allowed_token_ids else None
        )
        self._bad_words = params.bad_words
        self._tail_length = max((len(word) - 1 for word in params.bad_words), default=0)
        self._tail = tuple(output[-self._tail_length :]) if self._tail_length else ()
        # Whether a choice may ever differ from that of the logits alone.
        self.shifts = bool(
            self.penalised or params.logit_bias or params.allowed_token_ids or params.bad_words
        )
        self._plain = params.temperature == 0 and params.logprobs is None and not self.shifts
        # Whether the kernel can choose: `shift` says all that the choice depends on.
        self.by_kernel = (
            self.allowed is None
            and len(params.logit_bias) <= _SHORT
            and len(params.bad_words) + len(params.stop_token_ids) <= _SHORT
        )
        self._banned = _NO_IDS
        self._shift: Shift | None = None

    @property
    def shifted(self) -> bool:
        """Whether the next token is chosen from other logits than the model's."""
        return self.shifts or self.num_output < self.params.min_tokens

    @property
    def plain_greedy(self) -> bool:
        """Whether the next token is the model's largest logit, and nothing more is asked."""
        return self._plain and self.num_output >= self.params.min_tokens

    def banned(self) -> np.ndarray:
        """Ids that may not come next: stop tokens before min_tokens, a bad word's last token."""
        found = _NO_IDS
        if self.stops is not None and self.num_output < self.params.min_tokens:
            found = self.stops
        if self._bad_words:
            # A word is kept out at its last token: only there is it known to be that word.
            tail = self._tail
            last = [
                word[-1]
                for word in self._bad_words
                if len(word) == 1 or tail[len(tail) - len(word) + 1 :] == word[:-1]
            ]
            found = np.concatenate([found, np.array(last, dtype=np.int64)])
        return found

    def shift(self) -> Shift:
        """What the kernel is to choose the next token by, where `by_kernel`; until `accept`."""
        shift = self._shift
        if shift is None:
            params = self.params
            shift = self._shift = Shift(
                repetition=params.repetition_penalty,
                raises=params.repetition_penalty < 1.0
                or params.presence_penalty < 0
                or params.frequency_penalty < 0,
                temperature=params.temperature,
                top_p=params.top_p,
                min_p=params.min_p,
                top_k=max(0, params.top_k),
            )
            if self.bias is not None:
                ids, amounts = self.bias
                shift.bias_ids, shift.biases = ids.ctypes.data, amounts.ctypes.data
                shift.biased = len(ids)
        if self.params.temperature > 0:
            shift.draw = uniform(self.params.seed, self.num_output)
        if self.penalised is not None:
            self.penalised.point(shift)
        if self.stops is not None or self._bad_words:
            self._banned = self.banned()  # held: a shift has its address
            shift.banned, shift.bans = self._banned.ctypes.data, len(self._banned)
        return shift

    def accept(self, token: int) -> None:
        """The output has one token more."""
        self.num_output += 1
        if self.penalised is not None:
            self.penalised.add(token)
        if self._tail_length:
            self._tail = (*self._tail, token)[-self._tail_length :]
