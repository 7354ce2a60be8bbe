"""One request as the engine sees it: its tokens, how far they are computed, and its blocks.

`Sequence(request_id, prompt, params, emitted, root)`; the scheduler fills in the rest. A replayed
request's `emitted` tokens are output tokens from the start: they are computed with the prompt and
never sampled again, and output positions go on counting after them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from berth.engines.sampling.state import SamplingState
from berth.protocol.messages import FinishReason, SamplingParams

NO_SLOT = -1
MOST_ROOT = 2**63 - 1  # a key of the prefix cache holds the root in 8 bytes


class Unschedulable(ValueError):
    """A sequence that no waiting would let run. The message says which number is too large."""


class Status(enum.Enum):
    WAITING = "waiting"  # no slot, no blocks
    RUNNING = "running"  # a slot, and blocks for every token it has
    FINISHED = "finished"  # ended or cancelled: no slot, no blocks


class Sequence:
    """A request in the engine. The scheduler alone changes one; the sampler and others read it."""

    __slots__ = (
        "arrival",
        "blocks",
        "cached_tokens",
        "chain",
        "draft",
        "max_length",
        "num_computed",
        "num_prompt",
        "num_published",
        "params",
        "preemptions",
        "request_id",
        "root",
        "sampling",
        "scored",
        "slot",
        "status",
        "tokens",
    )

    def __init__(
        self,
        request_id: int,
        prompt: Iterable[int],
        params: SamplingParams,
        emitted: Iterable[int] = (),
        root: int = 0,
    ) -> None:
        """`root` stands for what its KV depends on beside its token ids (an adapter, the content of
        an image): only sequences of one root share blocks. Raises ValueError if it is not
        between 0 and MOST_ROOT.
        """
        if not 0 <= root <= MOST_ROOT:
            raise ValueError(f"root is {root}; it must be between 0 and {MOST_ROOT}")
        self.request_id = request_id
        self.root = root
        self.params = params
        self.tokens: list[int] = list(prompt)  # prompt, then output
        self.num_prompt = len(self.tokens)
        self.tokens.extend(emitted)
        # Every way of making a sequence passes here: what a replay has emitted counts at once.
        self.sampling = SamplingState(
            params, self.tokens[: self.num_prompt], self.tokens[self.num_prompt :]
        )
        self.draft: list[int] = []  # proposed to come next, not accepted: see Scheduler.propose
        self.num_computed = 0  # positions 0 … num_computed - 1 have their key and value in `blocks`
        self.blocks: list[int] = []  # the block table
        self.slot = NO_SLOT  # while it is running: 0 … max_num_seqs - 1
        self.status = Status.WAITING
        self.arrival = 0  # rank in the order of add()
        self.max_length = 0  # tokens at which it ends with "length"; set by add()
        self.cached_tokens = 0  # prompt tokens found in the prefix cache when first admitted
        self.preemptions = 0
        # The prefix cache: how many of `blocks` are dealt with, and the content of the last.
        self.num_published = 0
        self.chain = 0
        # Prompt positions whose logits have been asked for, if prompt_logprobs wants them all.
        # Those of a replay went out before the first of its emitted tokens.
        wants_prompt = params.prompt_logprobs is not None and not self.num_output
        self.scored = 0 if wants_prompt else self.num_prompt

    @property
    def num_output(self) -> int:
        """Output tokens so far; also the output position of the token sampled next."""
        return len(self.tokens) - self.num_prompt

    @property
    def output(self) -> list[int]:
        """A copy of the output tokens."""
        return self.tokens[self.num_prompt :]

    def extend(self, tokens: Iterable[int]) -> tuple[list[int], FinishReason | None]:
        """Add output tokens, up to the one that ends it. Returns those added, and why it ends."""
        added: list[int] = []
        for token in tokens:
            self.tokens.append(token)
            added.append(token)
            reason = finish_reason(self)
            if reason is not None:
                return added, reason
        return added, None


def finish_reason(sequence: Sequence) -> FinishReason | None:
    """Whether the last output token ends the sequence, and why; None if it goes on.

    A stop token counts after `min_tokens` other output tokens, and comes before "length". It stays
    among the tokens: serving takes it out of the text.
    """
    num_output = sequence.num_output
    if not num_output:
        return None
    params = sequence.params
    if sequence.tokens[-1] in params.stop_token_ids and num_output > params.min_tokens:
        return "stop"
    if len(sequence.tokens) >= sequence.max_length:
        return "length"
    return None


def limit_length(sequence: Sequence, most: int) -> None:
    """Set its max_length; no sequence may have more than `most` tokens, prompt and output.

    Raises Unschedulable if not one output token could be computed.
    """
    num_prompt, max_tokens = sequence.num_prompt, sequence.params.max_tokens
    if not num_prompt:
        raise Unschedulable("the prompt has no tokens; at least 1 is needed")
    if max_tokens < 1:
        raise Unschedulable(f"max_tokens is {max_tokens}; it must be at least 1")
    if num_prompt >= most:
        raise Unschedulable(
            f"the prompt has {num_prompt} tokens; with at most {most} tokens of "
            f"prompt and output together it can have at most {most - 1}"
        )
    sequence.max_length = min(num_prompt + max_tokens, most)
