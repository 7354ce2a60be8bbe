"""Rank 0's engine without its socket: requests in, step reports out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import torch

from berth.engines.host.answers import Answers
from berth.engines.host.link import Pulse
from berth.engines.host.sequence import Sequence
from berth.engines.native.broadcast import PlanChannel
from berth.engines.native.plan import StepPlan
from berth.engines.native.runner import Runner
from berth.engines.native.scheduler import Scheduler
from berth.engines.sampling.sampler import BAD_LOGITS, Sampler
from berth.protocol.messages import Delta, EngineStats, StepReport, Submit, TokenLogprob

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
        """`memory` returns the most bytes that this rank has taken so far; called now and then."""
        self.scheduler = scheduler
        self.runner = runner
        self.channel = channel
        self.pulse = pulse
        self.sampler = Sampler(runner.model.ops)
        self._memory = memory
        self._memory_bytes = 0
        self._until_measured = 0  # steps
        self._answers = Answers()

    @property
    def has_work(self) -> bool:
        """Whether step() would compute anything."""
        return self.scheduler.has_work

    def stats(self, seconds: float = 0.0, tokens: int = 0) -> EngineStats:
        """Gauges and counters as they are now; `seconds` and `tokens` are a step's, if one was."""
        stats = self.scheduler.stats(seconds, tokens)
        return msgspec.structs.replace(stats, memory_bytes=self._memory_bytes)

    def submit(self, message: Submit) -> StepReport | None:
        """Queue a request. Returns the report of its end if it can or need not run."""
        delta = self._answers.enter(message, self.scheduler.add)
        return None if delta is None else StepReport([delta], self.stats())

    def cancel(self, request_ids: list[int]) -> None:
        """Forget requests; their blocks are free on return."""
        self.scheduler.cancel(request_ids)
        self._answers.forget(request_ids)

    def step(self) -> StepReport | None:
        """Compute one step. None if it emitted nothing (a chunk of a prompt) or had no work."""
        plan = self.scheduler.schedule()
        if plan.empty:
            return None
        began = time.perf_counter()
        self.pulse.busy = True
        for request_id in self.scheduler.take_entered():
            self.pulse.begun.mark(request_id)
            self._answers.began(request_id)
        self.channel.send(plan)
        logits = self.runner.run(plan, self.pulse.beat)
        deltas = self._advance(plan, self._sample(plan, logits))
        self.pulse.busy = False
        if not deltas:
            return None
        if self._until_measured == 0:
            self._memory_bytes = self._memory()
        self._until_measured = (self._until_measured + 1) % _MEASURE_EVERY
        return StepReport(deltas, self.stats(time.perf_counter() - began, len(plan.tokens)))

    @torch.inference_mode()
    def _sample(self, plan: StepPlan, logits: torch.Tensor) -> list[_Choice]:
        """The choice of each entry that samples, in the plan's order."""
        if len(plan.samples) == len(plan.slots) == logits.shape[0]:  # one row each
            sequences = [self._sequence(slot) for slot in plan.slots]
            sampled = self.sampler.sample(logits, [sequence.sampling for sequence in sequences])
            return [
                _Choice(sequence, row, 0, [sampled.tokens[row]], [sampled.logprobs[row]])
                for row, sequence in enumerate(sequences)
            ]
        choices = self._score_prompts(plan, logits)
        # A draft is confirmed if it is the token that is chosen in its place: the text is the
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
                self._answers.score(sequence, logits[end - plan.logits[entry] : end], first)
            if entry in samples:
                choices.append(_Choice(sequence, end - 1 - drafts, drafts))
        return choices

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
            deltas.append(self._answers.failed(sequence, token))
        logprobs = {choice.sequence.request_id: choice.logprobs for choice in choices}
        for sequence, tokens, reason in self.scheduler.advance(plan, [c.tokens for c in choices]):
            deltas.append(
                self._answers.delta(sequence, tokens, reason, logprobs[sequence.request_id])
            )
        return deltas
