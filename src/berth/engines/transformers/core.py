"""The engine without its socket: requests in, step reports out.

Each step computes one token of every running sequence, and as much of waiting prompts as the
budget leaves. Sampling is the native engine's own, so that seeds, penalties, logprobs and stop
tokens mean the same here. Memory is counted in tokens, padding included; when it runs out, the
youngest sequence gives its own back and is computed again later.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable

import torch

from berth.engines.host.answers import Answers
from berth.engines.host.link import Pulse
from berth.engines.host.sequence import Sequence, Status, finish_reason, limit_length
from berth.engines.sampling.sampler import Sampler
from berth.engines.transformers.lanes import Lane
from berth.engines.transformers.model import CausalModel
from berth.kernels.ops import TorchOps
from berth.protocol.messages import Delta, EngineStats, FinishReason, StepReport, Submit


class Core:
    """The queue and the running sequences."""

    def __init__(
        self,
        model: CausalModel,
        pulse: Pulse,
        *,
        capacity: int,
        max_num_seqs: int,
        max_batch_tokens: int,
        max_model_len: int,
        batches: bool,
        chunks: bool,
    ) -> None:
        """`capacity`: tokens that the caches may hold; `batches`, `chunks`: see Abilities."""
        self.model = model
        self.pulse = pulse
        self.capacity = capacity
        self.max_num_seqs = max_num_seqs
        self.max_batch_tokens = max_batch_tokens
        self.max_model_len = max_model_len
        self.reserved = 0  # tokens of the capacity that generate uses
        self.sampler = Sampler(TorchOps())
        self._batches = batches
        self._chunks = chunks
        self._waiting: OrderedDict[int, Sequence] = OrderedDict()
        self._lanes: list[Lane] = []
        self._filling: Lane | None = None  # one sequence, whose prompt is not all computed
        self._answers = Answers()
        self._arrivals = 0
        self._preemptions = 0

    @property
    def has_work(self) -> bool:
        """Whether step() would compute anything."""
        return bool(self._waiting or self._lanes or self._filling)

    @property
    def running(self) -> list[Sequence]:
        """Sequences with memory of their own, in no order."""
        filling = self._filling.sequences if self._filling else []
        return [s for lane in self._lanes for s in lane.sequences] + filling

    @property
    def used(self) -> int:
        """Tokens' worth of memory taken or promised."""
        filling = len(self._filling.sequences[0].tokens) if self._filling else 0
        return sum(lane.size for lane in self._lanes) + filling

    def stats(self, seconds: float = 0.0, tokens: int = 0) -> EngineStats:
        """Gauges and counters as they are now; a block is one token."""
        return EngineStats(
            running=len(self.running),
            waiting=len(self._waiting),
            blocks_used=min(self.used + self.reserved, self.capacity),
            blocks_total=self.capacity,
            preemptions=self._preemptions,
            step_seconds=seconds,
            tokens_in_step=tokens,
        )

    def submit(self, message: Submit) -> StepReport | None:
        """Queue a request. Returns the report of its end if it can or need not run."""
        delta = self._answers.enter(message, self._add)
        return None if delta is None else self.report([delta])

    def _add(self, sequence: Sequence) -> FinishReason | None:
        """Queue it; returns why it has ended already, if it has. Raises Unschedulable."""
        limit_length(sequence, min(self.max_model_len, self.capacity))
        reason = finish_reason(sequence)
        if reason is None:
            self._arrivals += 1
            sequence.arrival = self._arrivals
            self._waiting[sequence.request_id] = sequence
        return reason

    def report(self, deltas: list[Delta]) -> StepReport:
        """Deltas that no step gave."""
        return StepReport(deltas, self.stats())

    def cancel(self, request_ids: Iterable[int]) -> None:
        """Forget requests; their memory is free on return."""
        wanted = set(request_ids)
        for request_id in wanted:
            self._waiting.pop(request_id, None)
        self._answers.forget(wanted)
        self._drop(wanted)

    def _drop(self, request_ids: set[int]) -> list[Sequence]:
        lanes = [*self._lanes, *([self._filling] if self._filling else [])]
        dropped = [sequence for lane in lanes for sequence in lane.drop(request_ids)]
        for sequence in dropped:
            sequence.num_computed = 0
        self._lanes = [lane for lane in self._lanes if lane.sequences]
        if self._filling is not None and not self._filling.sequences:
            self._filling = None
        return dropped

    @torch.inference_mode()
    def step(self) -> StepReport | None:
        """Compute one step. None if it emitted nothing (a chunk of a prompt)."""
        began = time.perf_counter()
        self.pulse.busy = True
        self._make_room()
        rows: list[torch.Tensor] = []
        sequences: list[Sequence] = []
        tokens = 0
        for running in self._lanes:
            rows.append(self._decode(running))
            sequences.extend(running.sequences)
            tokens += len(running.sequences)
        while tokens < self.max_batch_tokens and (self._filling or self._admit()):
            lane = self._filling
            assert lane is not None
            count, last = self._fill(lane, self.max_batch_tokens - tokens)
            tokens += count
            if last is None:
                break
            rows.append(last)
            sequences.extend(lane.sequences)
            self._filling = None
            self._settle(lane)
        deltas = self._sample(rows, sequences) if rows else []
        self.pulse.busy = False
        if not deltas:
            return None
        return StepReport(deltas, self.stats(time.perf_counter() - began, tokens))

    def _decode(self, lane: Lane) -> torch.Tensor:
        """One token of every row; logits [rows, vocab]."""
        computed = [sequence.num_computed for sequence in lane.sequences]
        last = [sequence.tokens[-1:] for sequence in lane.sequences]
        logits, lane.state = self.model.step(last, lane.state, computed=computed)
        for sequence in lane.sequences:
            sequence.num_computed += 1
        return logits[:, -1]

    def _fill(self, lane: Lane, budget: int) -> tuple[int, torch.Tensor | None]:
        """Compute more of a prompt: how many tokens, and logits [1, vocab] if it is whole."""
        (sequence,) = lane.sequences
        start, end = sequence.num_computed, len(sequence.tokens)
        if self._chunks:
            end = min(end, start + budget)
        scored = sequence.scored < sequence.num_prompt
        logits, lane.state = self.model.step(
            [sequence.tokens[start:end]], lane.state, computed=[start], keep=0 if scored else 1
        )
        if scored:
            self._answers.score(sequence, logits[0], start)
            sequence.scored = end
        sequence.num_computed = end
        return end - start, logits[:, -1] if end == len(sequence.tokens) else None

    # --- memory -------------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        return self.capacity - self.reserved - self.used

    def _make_room(self) -> None:
        """Preempt the youngest until every running sequence can have one token more."""
        while (running := self.running) and len(running) > self._room:
            if len(running) == 1 and not self.reserved:
                return  # alone it fits, by limit_length
            youngest = max(running, key=lambda sequence: sequence.arrival)
            self._drop({youngest.request_id})
            youngest.status = Status.WAITING
            self._preemptions += 1
            self._waiting[youngest.request_id] = youngest
            self._waiting.move_to_end(youngest.request_id, last=False)

    def _admit(self) -> bool:
        """Begin the prompt of the first that waits, if there is a place and room for it."""
        running = len(self.running)
        if not self._waiting or running >= self.max_num_seqs:
            return False
        sequence = next(iter(self._waiting.values()))
        # One token more for each, so that the next step preempts none. Alone it fits, by
        # limit_length.
        needed = self._cost(sequence) + running + 1
        if needed > self._room and (running or self.reserved):
            return False
        del self._waiting[sequence.request_id]
        sequence.status = Status.RUNNING
        self.pulse.begun.mark(sequence.request_id)
        self._answers.began(sequence.request_id)
        self._filling = Lane([sequence], self.model.new_state())
        return True

    def _cost(self, sequence: Sequence) -> int:
        """Tokens' worth of memory that it takes once it has joined its lane."""
        length = len(sequence.tokens)
        lane = self._lane_for(length)
        if lane is None:
            return length
        return (len(lane.sequences) + 1) * max(lane.width, length) - lane.size

    def _lane_for(self, length: int) -> Lane | None:
        if not self._batches:
            return None
        return next((lane for lane in self._lanes if lane.suits(length)), None)

    def _settle(self, lane: Lane) -> None:
        """Put the sequence whose prompt is complete beside others."""
        host = self._lane_for(lane.width)
        if host is None:
            self._lanes.append(lane)
        else:
            host.join(lane)

    # --- after the passes -----------------------------------------------------------------------

    def _sample(self, rows: list[torch.Tensor], sequences: list[Sequence]) -> list[Delta]:
        """Choose each sequence's next token; take out those that end with it."""
        states = [sequence.sampling for sequence in sequences]
        sampled = self.sampler.sample(torch.cat(rows), states)
        deltas: list[Delta] = []
        ended: set[int] = set()
        for sequence, token, logprob in zip(
            sequences, sampled.tokens, sampled.logprobs, strict=True
        ):
            if token < 0:
                ended.add(sequence.request_id)
                deltas.append(self._answers.failed(sequence, token))
                continue
            tokens, reason = sequence.extend([token])
            if reason is not None:
                ended.add(sequence.request_id)
            deltas.append(self._answers.delta(sequence, tokens, reason, [logprob]))
        for sequence in self._drop(ended) if ended else ():
            sequence.status = Status.FINISHED
        return deltas
