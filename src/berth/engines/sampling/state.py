"""What the choice of a sequence's next token depends on, beside its logits: kept from step to step.

`SamplingState(params, prompt, emitted)` knows a replay's `emitted` tokens from the start, and
`accept(token)` takes in one more. Nothing is computed anew from the whole sequence, so that a step
costs the same after 100 tokens as after 100,000 (but for the number of distinct ones).

Pure: numpy arrays on the host, which the sampler applies to a batch of logits at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from berth.protocol.messages import SamplingParams

_NO_IDS = np.empty(0, dtype=np.int64)
_FIRST_ROOM = 64  # entries; doubled when they are full


class _Penalised:
    """Distinct token ids, ascending, and what is taken from the logit of each."""

    __slots__ = ("_amounts", "_counts", "_frequency", "_ids", "_presence", "length")

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence = np.float32(presence)
        self._frequency = np.float32(frequency)
        self._ids = np.empty(_FIRST_ROOM, dtype=np.int64)
        self._counts = np.empty(_FIRST_ROOM, dtype=np.int64)
        self._amounts = np.empty(_FIRST_ROOM, dtype=np.float32)
        self.length = 0

    @property
    def ids(self) -> np.ndarray:
        """int64 [length], ascending."""
        return self._ids[: self.length]

    @property
    def amounts(self) -> np.ndarray:
        """float32 [length]: presence + frequency * count; 0 for a token of the prompt alone."""
        return self._amounts[: self.length]

    def load(self, prompt: list[int], output: list[int]) -> None:
        """Take in all tokens at once, before the first `add`."""
        found = np.unique(np.array(prompt + output, dtype=np.int64))
        ids, counts = np.unique(np.array(output, dtype=np.int64), return_counts=True)
        self._grow(len(found))
        self.length = len(found)
        self._ids[: self.length] = found
        self._counts[: self.length] = 0
        self._counts[np.searchsorted(found, ids)] = counts
        amounts = self._presence + self._frequency * self._counts[: self.length].astype(np.float32)
        self._amounts[: self.length] = np.where(self._counts[: self.length] > 0, amounts, 0.0)

    def add(self, token: int) -> None:
        """One more output token."""
        at = int(self.ids.searchsorted(token))
        end = self.length
        if at == end or self._ids[at] != token:
            self._grow(end + 1)
            for array in (self._ids, self._counts, self._amounts):
                array[at + 1 : end + 1] = array[at:end]
            self._ids[at] = token
            self._counts[at] = 0
            self.length += 1
        self._counts[at] += 1
        self._amounts[at] = self._presence + self._frequency * np.float32(self._counts[at])

    def _grow(self, wanted: int) -> None:
        room = len(self._ids)
        if wanted <= room:
            return
        more = max(wanted, 2 * room) - room
        self._ids = np.concatenate([self._ids, np.empty(more, dtype=np.int64)])
        self._counts = np.concatenate([self._counts, np.empty(more, dtype=np.int64)])
        self._amounts = np.concatenate([self._amounts, np.empty(more, dtype=np.float32)])


class SamplingState:
    """One sequence's; see above. Read by the sampler, which alone calls `accept`."""

    __slots__ = (
        "_bad_words",
        "_plain",
        "_tail",
        "_tail_length",
        "allowed",
        "bias",
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
            self.penalised = _Penalised(params.presence_penalty, params.frequency_penalty)
            self.penalised.load(list(prompt) if repeats else [], output)
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

    def accept(self, token: int) -> None:
        """The output has one token more."""
        self.num_output += 1
        if self.penalised is not None:
            self.penalised.add(token)
        if self._tail_length:
            self._tail = (*self._tail, token)[-self._tail_length :]
