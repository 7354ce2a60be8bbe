"""A transformers engine inside the test's own process, driven step by step."""

from __future__ import annotations

from typing import Any

from berth.engines.host.link import Pulse
from berth.engines.transformers.core import Core
from berth.engines.transformers.generate import Generates
from berth.engines.transformers.model import CausalModel
from berth.engines.transformers.probe import probe
from berth.protocol.messages import Delta, GenerateParams, SamplingParams, StepReport, Submit
from engines.transformers.tiny_models import EOS


class Engine:
    """Core and Generates with memory: every delta of every request."""

    def __init__(
        self,
        model: Any,
        *,
        capacity: int = 4000,
        max_num_seqs: int = 16,
        max_batch_tokens: int = 32,
        max_model_len: int = 250,
    ) -> None:
        self.pulse = Pulse()
        causal = CausalModel(model, self.pulse.beat)
        self.abilities = probe(causal)
        self.core = Core(
            causal,
            self.pulse,
            capacity=capacity,
            max_num_seqs=max_num_seqs,
            max_batch_tokens=max_batch_tokens,
            max_model_len=max_model_len,
            batches=self.abilities.batches,
            chunks=self.abilities.chunks,
        )
        self.generates = Generates(self.core, self.take, self.between)
        self.deltas: dict[int, list[Delta]] = {}
        self.turns = 0  # of others, inside generate
        self.on_turn: Any = lambda: None
        self._next = 0

    def submit(
        self,
        prompt: list[int],
        *,
        generate: GenerateParams | None = None,
        emitted: list[int] | None = None,
        **params: Any,
    ) -> int:
        """Queue a request, greedy unless told otherwise; returns its id."""
        self._next += 1
        values = {"temperature": 0.0, "max_tokens": 12, "stop_token_ids": (EOS,)} | params
        message = Submit(self._next, prompt, SamplingParams(**values), emitted or [], generate)
        self.deltas[self._next] = []
        alone = generate is not None or not self.abilities.steps
        report = (self.generates if alone else self.core).submit(message)
        if report is not None:
            self.take(report)
        return self._next

    def take(self, report: StepReport) -> None:
        for delta in report.deltas:
            self.deltas[delta.request_id].append(delta)

    def between(self) -> None:
        self.turns += 1
        self.on_turn()
        self.step()

    def step(self) -> None:
        if self.core.has_work:
            report = self.core.step()
            if report is not None:
                self.take(report)

    def drain(self) -> None:
        """Until nothing is left."""
        rounds = 0
        while self.core.has_work or self.generates.has_work:
            if self.generates.has_work:
                self.generates.run_next()
            self.step()
            rounds += 1
            assert rounds < 5000, "the engine does not come to an end"

    def tokens(self, request: int, index: int = 0) -> list[int]:
        """Output tokens so far."""
        return [t for d in self.deltas[request] if d.index == index for t in d.tokens]

    def run(self, prompt: list[int], **settings: Any) -> list[int]:
        """One request from beginning to end."""
        request = self.submit(prompt, **settings)
        self.drain()
        assert self.deltas[request][-1].error is None, self.deltas[request][-1].error
        return self.tokens(request)
