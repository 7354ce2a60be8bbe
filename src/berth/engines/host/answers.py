"""What the server receives of each request, in every engine: its tokens, and once what came before.

answers = Answers()
delta = answers.enter(message, add)     # the request's end if it does not run; else None
answers.began(request_id)               # its first step begins
answers.score(sequence, logits, first)  # rows of the prompt
answers.delta(sequence, tokens, reason, logprobs)
answers.failed(sequence, token)         # the sampler found none
answers.forget(request_ids)             # cancelled
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq

import torch

from berth.engines.host.sequence import Sequence, Unschedulable
from berth.engines.sampling.sampler import failed, token_logprob
from berth.protocol.messages import Delta, FinishReason, Submit, TokenLogprob


class Answers:
    """Keeps what goes out with a request's first tokens until then."""

    def __init__(self) -> None:
        self._prompt_logprobs: dict[int, list[TokenLogprob | None]] = {}
        self._arrived: dict[int, float] = {}  # when each request came, until it is begun
        self._waited: dict[int, float] = {}  # seconds, until its first token is reported

    def enter(
        self, message: Submit, add: Callable[[Sequence], FinishReason | None]
    ) -> Delta | None:
        """Make a sequence of a request and queue it with `add`.

        Args:
            add: returns why the sequence has ended already (the emitted tokens of a replay end
                it), None if it is queued. Raises Unschedulable if it can never run, with a
                message for the client; another ValueError if the fault is not the client's.

        Returns: the request's end, None if it is queued.
        """
        request_id = message.request_id
        sequence = Sequence(
            request_id, message.prompt, message.params, message.emitted, message.root
        )
        try:
            reason = add(sequence)
        except ValueError as error:
            refused = isinstance(error, Unschedulable)
            return Delta(request_id, [], "error", error=str(error), refused=refused)
        if reason is not None:
            return Delta(request_id, [], reason)
        self._arrived[request_id] = time.perf_counter()
        return None

    def began(self, request_id: int) -> None:
        """Its first step begins; a second call after a preemption changes nothing."""
        arrived = self._arrived.pop(request_id, None)
        if arrived is not None:
            self._waited[request_id] = time.perf_counter() - arrived

    def score(self, sequence: Sequence, logits: torch.Tensor, first: int) -> None:
        """Keep the logprobs of prompt tokens: row i of logits tells of token first + i + 1.

        Rows of positions that were scored before (computed again after a preemption) are passed
        over.
        """
        alternatives = sequence.params.prompt_logprobs
        if alternatives is None:
            return
        kept = self._prompt_logprobs.setdefault(sequence.request_id, [None])
        for position in range(len(kept), min(first + len(logits) + 1, sequence.num_prompt)):
            row = logits[position - 1 - first]
            kept.append(token_logprob(row, sequence.tokens[position], alternatives))

    def delta(
        self,
        sequence: Sequence,
        tokens: list[int],
        reason: FinishReason | None,
        logprobs: Seq[TokenLogprob | None],
    ) -> Delta:
        """What a step added; the sequence has the tokens already. One logprob a token."""
        request_id = sequence.request_id
        found = [entry for entry in logprobs[: len(tokens)] if entry is not None]
        if sequence.num_output > len(tokens):
            return Delta(request_id, tokens, reason, found or None)
        return Delta(
            request_id,
            tokens,
            reason,
            found or None,
            self._prompt_logprobs.pop(request_id, None),
            sequence.cached_tokens,
            waited=self._waited.pop(request_id, None),
        )

    def failed(self, sequence: Sequence, token: int) -> Delta:
        """The end of a sequence for which the sampler gave BAD_LOGITS or NO_TOKEN."""
        self.forget([sequence.request_id])
        return failed(sequence.request_id, token, sequence.params)

    def forget(self, request_ids: Iterable[int]) -> None:
        """These get no answer any more."""
        for request_id in request_ids:
            for kept in (self._prompt_logprobs, self._arrived, self._waited):
                kept.pop(request_id, None)
