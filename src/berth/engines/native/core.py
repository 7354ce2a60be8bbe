"""Rank 0's engine without its socket: requests in, step reports out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import torch

from berth.engines.host.link import Pulse
from berth.engines.host.sequence import Sequence, Unschedulable
from berth.engines.native.broadcast import PlanChannel
from berth.engines.native.plan import StepPlan
from berth.engines.native.runner import Runner
from berth.engines.native.scheduler import Scheduler
from berth.engines.sampling.sampler import BAD_LOGITS, Sampler, failed, token_logprob
from berth.protocol.messages import Delta, StepReport, Submit, TokenLogprob

_MEASURE_EVERY = 64  # steps between two looks at the memory


@dataclass(slots=True)
class _Choice:
    """What a step chose for one entry: the drafts that it confirms, and one token more."""

    sequence: Sequence
    row: int  # of the logits: the first that samples
    drafts: int  # of the sequence's, computed in this step; one row each after the first
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob | None] = field(default_factory=list)

    def confirms(self, at: int) -> bool:
        """Whether the token chosen at this row after the first is the draft that stood there."""
        drafts = self.sequence.draft[: self.drafts]
        return self.tokens[at : at + 1] == drafts[at : at + 1] != []


class Core:
    """Scheduler, runner and sampler, one step at a time."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        channel: PlanChannel,
        pulse: Pulse,
        memory: Callable[[], int] = lambda: 0,
    ) -> None:
        """`memory` tells the bytes that this rank has taken at its most; asked now and then."""
        self.scheduler = scheduler
        self.runner = runner
        self.channel = channel
        self.pulse = pulse
        self.sampler = Sampler(runner.model.ops)
        self._memory = memory
        self._memory_bytes = 0
        self._until_measured = 0  # steps
        # Logprobs of prompt tokens so far, of the few requests that asked for them.
        self._prompt_logprobs: dict[int, list[TokenLogprob | None]] = {}
        self._arrived: dict[int, float] = {}  # when each request came, until it is begun
        self._waited: dict[int, float] = {}  # seconds, until its first token is reported

    def submit(self, message: Submit) -> StepReport | None:
        """Queue a request. Returns the report of its end where it can or need not run."""
        sequence = Sequence(message.request_id, message.prompt, message.params, message.emitted)
        try:
            reason = self.scheduler.add(sequence)
        except ValueError as error:  # Unschedulable, or an id that is here already
            refused = isinstance(error, Unschedulable)
            delta = Delta(message.request_id, [], "error", error=str(error), refused=refused)
        else:
            if reason is None:
                self._arrived[message.request_id] = time.perf_counter()
                return None
            delta = Delta(message.request_id, [], reason)
        return StepReport([delta], self.scheduler.stats())

    def cancel(self, request_ids: list[int]) -> None:
        """Forget requests; their blocks are free on return."""
        self.scheduler.cancel(request_ids)
        for request_id in request_ids:
            for kept in (self._prompt_logprobs, self._arrived, self._waited):
                kept.pop(request_id, None)

    def step(self) -> StepReport | None:
        """Compute one step. None where it emitted nothing (a chunk of a prompt) or had no work."""
        plan = self.scheduler.schedule()
        if plan.empty:
            return None
        began = time.perf_counter()
        self.pulse.busy = True
        for request_id in self.scheduler.take_entered():
            self.pulse.begun.mark(request_id)
            arrived = self._arrived.pop(request_id, None)
            if arrived is not None:  # not again after a preemption
                self._waited[request_id] = began - arrived
        self.channel.send(plan)
        logits = self.runner.run(plan, self.pulse.beat)
        deltas = self._advance(plan, self._sample(plan, logits))
        self.pulse.busy = False
        if not deltas:
            return None
        if self._until_measured == 0:
            self._memory_bytes = self._memory()
        self._until_measured = (self._until_measured + 1) % _MEASURE_EVERY
        stats = self.scheduler.stats(time.perf_counter() - began, len(plan.tokens))
        return StepReport(deltas, msgspec.structs.replace(stats, memory_bytes=self._memory_bytes))

    @torch.inference_mode()
    def _sample(self, plan: StepPlan, logits: torch.Tensor) -> list[_Choice]:
        """The choice of each entry that samples, in the plan's order."""
        if len(plan.samples) == len(plan.slots) == logits.shape[0]:  # one row each
            choices = [_Choice(self._sequence(slot), row, 0) for row, slot in enumerate(plan.slots)]
            self._choose(choices, logits)
            return choices
        choices = self._score_prompts(plan, logits)
        # A draft is confirmed where it is the token that is chosen in its place: the text is the
        # same as without drafts. The row after it counts only then.
        left = choices
        for confirmed in range(1 + max(plan.drafts, default=0)):
            self._choose(left, logits[[choice.row + confirmed for choice in left]])
            left = [choice for choice in left if choice.confirms(confirmed)]
            if not left:
                break
        return choices

    def _choose(self, choices: list[_Choice], rows: torch.Tensor) -> None:
        if not choices:
            return
        sampled = self.sampler.sample(rows, [choice.sequence.sampling for choice in choices])
        for choice, token, logprob in zip(choices, sampled.tokens, sampled.logprobs, strict=True):
            if token < 0 and choice.tokens:
                continue  # what came before is good; the next step fails at its first row
            choice.tokens.append(token)
            choice.logprobs.append(logprob)

    def _score_prompts(self, plan: StepPlan, logits: torch.Tensor) -> list[_Choice]:
        """Keep the logprobs of prompt tokens; returns the entries that sample, not chosen yet."""
        choices: list[_Choice] = []
        samples = set(plan.samples)
        end = 0
        for entry, slot in enumerate(plan.slots):
            end += plan.logits[entry]
            sequence = self._sequence(slot)
            drafts = plan.drafts[entry]
            if plan.logits[entry] > 1 + drafts or (plan.logits[entry] and entry not in samples):
                first = plan.starts[entry] + plan.counts[entry] - plan.logits[entry]
                self._score(sequence, logits[end - plan.logits[entry] : end], first)
            if entry in samples:
                choices.append(_Choice(sequence, end - 1 - drafts, drafts))
        return choices

    def _score(self, sequence: Sequence, logits: torch.Tensor, first: int) -> None:
        """Row i of logits is position first + i, and tells of the token after it."""
        alternatives = sequence.params.prompt_logprobs
        if alternatives is None:
            return
        kept = self._prompt_logprobs.setdefault(sequence.request_id, [None])
        for row, position in enumerate(range(first, first + logits.shape[0])):
            if position + 1 < sequence.num_prompt and position + 1 == len(kept):
                token = sequence.tokens[position + 1]
                kept.append(token_logprob(logits[row], token, alternatives))

    def _sequence(self, slot: int) -> Sequence:
        """The sequence in a slot of the plan in flight: nothing is cancelled during a step."""
        sequence = self.scheduler.sequence_in(slot)
        assert sequence is not None
        return sequence

    def _advance(self, plan: StepPlan, choices: list[_Choice]) -> list[Delta]:
        """The step's deltas. Failed sequences leave first, before their blocks are published."""
        deltas: list[Delta] = []
        for choice in choices:
            token = choice.tokens[-1]
            if token >= 0:
                continue
            sequence = choice.sequence
            self.scheduler.cancel([sequence.request_id], distrust=token == BAD_LOGITS)
            self._waited.pop(sequence.request_id, None)
            self._prompt_logprobs.pop(sequence.request_id, None)
            deltas.append(failed(sequence.request_id, token, sequence.params))
        logprobs = {choice.sequence.request_id: choice.logprobs for choice in choices}
        for emitted in self.scheduler.advance(plan, [choice.tokens for choice in choices]):
            sequence = emitted.sequence
            first = sequence.num_output == len(emitted.tokens)
            found = [entry for entry in logprobs[sequence.request_id] if entry is not None]
            deltas.append(
                Delta(
                    sequence.request_id,
                    emitted.tokens,
                    emitted.finish_reason,
                    found[: len(emitted.tokens)] or None,
                    self._prompt_logprobs.pop(sequence.request_id, None) if first else None,
                    sequence.cached_tokens if first else 0,
                    waited=self._waited.pop(sequence.request_id, None) if first else None,
                )
            )
        return deltas
