"""Rank 0's engine without its socket: requests in, step reports out."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import torch

from berth.engine.broadcast import PlanChannel
from berth.engine.link import Pulse
from berth.engine.plan import StepPlan
from berth.engine.runner import Runner
from berth.engine.sampler import BAD_LOGITS, Sampled, Sampler, token_logprob
from berth.engine.scheduler import Scheduler
from berth.engine.sequence import Sequence
from berth.protocol.messages import Delta, StepReport, Submit, TokenLogprob

_MEASURE_EVERY = 64  # steps between two looks at the memory
BAD_LOGITS_ERROR = "the model gave logits that are not numbers"


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
            delta = Delta(message.request_id, [], "error", error=str(error))
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
        sampled = self._sample(plan, logits)
        deltas = self._advance(plan, sampled)
        self.pulse.busy = False
        if not deltas:
            return None
        if self._until_measured == 0:
            self._memory_bytes = self._memory()
        self._until_measured = (self._until_measured + 1) % _MEASURE_EVERY
        stats = self.scheduler.stats(time.perf_counter() - began, len(plan.tokens))
        return StepReport(deltas, msgspec.structs.replace(stats, memory_bytes=self._memory_bytes))

    @torch.inference_mode()
    def _sample(self, plan: StepPlan, logits: torch.Tensor) -> Sampled:
        if len(plan.samples) == len(plan.slots) == logits.shape[0]:  # one row each
            rows, sequences = logits, [self._sequence(slot) for slot in plan.slots]
        else:
            last, sequences = self._score_prompts(plan, logits)
            rows = logits[last]
        return self.sampler.sample(rows, sequences) if sequences else Sampled([], [])

    def _score_prompts(
        self, plan: StepPlan, logits: torch.Tensor
    ) -> tuple[list[int], list[Sequence]]:
        """Keep the logprobs of prompt tokens; returns each sampling entry's row and sequence."""
        last: list[int] = []
        sequences: list[Sequence] = []
        samples = set(plan.samples)
        end = 0
        for entry, slot in enumerate(plan.slots):
            end += plan.logits[entry]
            sequence = self._sequence(slot)
            if plan.logits[entry] > 1 or (plan.logits[entry] and entry not in samples):
                first = plan.starts[entry] + plan.counts[entry] - plan.logits[entry]
                self._score(sequence, logits[end - plan.logits[entry] : end], first)
            if entry in samples:
                last.append(end - 1)
                sequences.append(sequence)
        return last, sequences

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

    def _advance(self, plan: StepPlan, sampled: Sampled) -> list[Delta]:
        """The step's deltas. Poisoned sequences leave first, before their blocks are published."""
        logprobs: dict[int, TokenLogprob | None] = {}
        poisoned: list[int] = []
        for entry, token, logprob in zip(
            plan.samples, sampled.tokens, sampled.logprobs, strict=True
        ):
            request_id = self._sequence(plan.slots[entry]).request_id
            logprobs[request_id] = logprob
            if token == BAD_LOGITS:
                poisoned.append(request_id)
        if poisoned:
            self.scheduler.cancel(poisoned, distrust=True)
            for request_id in poisoned:
                self._waited.pop(request_id, None)
        deltas = [Delta(id_, [], "error", error=BAD_LOGITS_ERROR) for id_ in poisoned]
        for emitted in self.scheduler.advance(plan, [[token] for token in sampled.tokens]):
            sequence = emitted.sequence
            logprob = logprobs[sequence.request_id]
            first = sequence.num_output == len(emitted.tokens)
            deltas.append(
                Delta(
                    sequence.request_id,
                    emitted.tokens,
                    emitted.finish_reason,
                    None if logprob is None else [logprob],
                    self._prompt_logprobs.pop(sequence.request_id, None) if first else None,
                    sequence.cached_tokens if first else 0,
                    waited=self._waited.pop(sequence.request_id, None) if first else None,
                )
            )
        return deltas
