"""A native engine inside the test's own process: one rank, driven step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from berth.checkpoint.folder import load_config
from berth.engines.host.link import Pulse
from berth.engines.native.block_manager import BlockManager
from berth.engines.native.broadcast import PlanChannel
from berth.engines.native.core import Core
from berth.engines.native.plan import StepPlan
from berth.engines.native.runner import Runner
from berth.engines.native.scheduler import Scheduler
from berth.kernels.batch import BLOCK
from berth.models import parallel
from berth.models.registry import model_class
from berth.models.weights.folder import open_weights
from berth.protocol.messages import Delta, SamplingParams, Submit

_group: parallel.Group | None = None


def alone() -> parallel.Group:
    """The group of one rank; a process can join only one."""
    global _group
    if _group is None:
        _group = parallel.join_group(torch.device("cpu"))
    return _group


class Engine:
    """Core with memory: every delta, and the logits that each output token was chosen from."""

    def __init__(
        self,
        folder: Path,
        *,
        dtype: torch.dtype = torch.float32,
        blocks: int = 64,
        max_num_seqs: int = 8,
        max_batch_tokens: int = 64,
        positions: int = 256,
        prefix_caching: bool = True,
    ) -> None:
        config = load_config(folder)
        source = open_weights(folder)
        with torch.inference_mode():
            model = model_class(config)(config, alone(), dtype, positions)
            model.load(source, lambda count: None)
            source.close()
            runner = _Recorder(model, blocks, max_num_seqs, positions)
        scheduler = Scheduler(
            max_num_seqs, max_batch_tokens, BlockManager(blocks, BLOCK, prefix_caching), positions
        )
        self.core = Core(scheduler, runner, PlanChannel(alone()), Pulse())
        runner.scheduler = scheduler
        self.runner = runner
        self.deltas: dict[int, list[Delta]] = {}
        self._next = 0

    @property
    def scheduler(self) -> Scheduler:
        return self.core.scheduler

    def submit(
        self, prompt: list[int], emitted: list[int] | None = None, root: int = 0, **params: Any
    ) -> int:
        """Queue a request, greedy unless told otherwise; returns its id."""
        self._next += 1
        values = {"temperature": 0.0, "max_tokens": 16} | params
        message = Submit(self._next, prompt, SamplingParams(**values), emitted or [], root=root)
        report = self.core.submit(message)
        self.deltas[self._next] = list(report.deltas) if report else []
        return self._next

    def step(self) -> None:
        report = self.core.step()
        for delta in report.deltas if report else ():
            self.deltas[delta.request_id].append(delta)

    def drain(self) -> None:
        """Step until nothing is left."""
        steps = 0
        while self.scheduler.has_work:
            self.step()
            steps += 1
            assert steps < 5000, "the engine does not come to an end"

    def tokens(self, request: int) -> list[int]:
        """Output tokens so far."""
        return [token for delta in self.deltas[request] for token in delta.tokens]

    def run(self, prompt: list[int], **params: Any) -> list[int]:
        """One request from beginning to end."""
        request = self.submit(prompt, **params)
        self.drain()
        return self.tokens(request)

    def logits(self, request: int) -> torch.Tensor:
        """What each output token of the request was chosen from: [output tokens, vocab]."""
        return torch.stack(self.runner.seen[request])


class _Recorder(Runner):
    """Keeps the last row of logits of every entry that samples."""

    scheduler: Scheduler

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: dict[int, list[torch.Tensor]] = {}

    def run(self, plan: StepPlan, progress: Any = None) -> torch.Tensor:
        logits = super().run(plan, progress)
        end = 0
        for entry, slot in enumerate(plan.slots):
            end += plan.logits[entry]
            if entry in plan.samples:
                sequence = self.scheduler.sequence_in(slot)
                assert sequence is not None
                self.seen.setdefault(sequence.request_id, []).append(logits[end - 1].clone())
        return logits


def random_prompt(seed: int, length: int, vocab: int = 96) -> list[int]:
    """Token ids of no meaning, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, vocab, (length,), generator=generator).tolist()
