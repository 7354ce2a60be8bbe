"""One rank's share of a step: from a plan to logits."""

from __future__ import annotations

import numpy as np
import torch

from berth.engines.native.plan import StepPlan
from berth.kernels.batch import BLOCK, Prefill, StepBatch
from berth.models.decoder import Decoder, Progress


class Runner:
    """Holds the model, its caches and the block table of every slot."""

    def __init__(self, model: Decoder, blocks: int, max_num_seqs: int, max_model_len: int) -> None:
        self.model = model
        self.caches = model.make_caches(blocks)
        self.tables = np.zeros((max_num_seqs, -(-max_model_len // BLOCK)), dtype=np.int32)
        self._device = model.group.device

    @torch.inference_mode()
    def run(self, plan: StepPlan, progress: Progress | None = None) -> torch.Tensor:
        """Compute the plan's positions. Returns logits [sum(plan.logits), vocab], in its order."""
        logits: torch.Tensor = self.model(self.prepare(plan), self.caches, progress)
        return logits

    def prepare(self, plan: StepPlan) -> StepBatch:
        """The plan as tensors; takes its block assignments into the tables."""
        if plan.blocks:
            triples = np.array(plan.blocks, dtype=np.int64).reshape(-1, 3)
            self.tables[triples[:, 0], triples[:, 1]] = triples[:, 2]
        slots = np.array(plan.slots, dtype=np.int64)
        starts = np.array(plan.starts, dtype=np.int64)
        counts = np.array(plan.counts, dtype=np.int64)
        wanted = np.array(plan.logits, dtype=np.int64)
        ends = np.cumsum(counts)  # row after each entry's last
        single = counts == 1
        if single.all():
            positions, rows_slots = starts, slots
        else:
            positions = _spread(starts, counts)
            rows_slots = np.repeat(slots, counts)
        places = self.tables[rows_slots, positions // BLOCK].astype(np.int64) * BLOCK
        lengths = starts[single] + 1
        longest = int(lengths.max(initial=0))
        tables = self.tables[slots[single], : -(-longest // BLOCK)]
        batch = StepBatch(
            tokens=self._tensor(np.array(plan.tokens, dtype=np.int64)),
            positions=self._tensor(positions),
            cache_slots=self._tensor(places + positions % BLOCK),
            decode_rows=self._tensor(ends[single] - 1),
            decode_lengths=self._tensor(lengths),
            decode_tables=self._tensor(np.ascontiguousarray(tables)),
            longest_decode=longest,
        )
        for entry in np.flatnonzero(~single).tolist():
            count = plan.counts[entry]
            length = plan.starts[entry] + count
            table = self.tables[plan.slots[entry], : -(-length // BLOCK)]
            batch.prefills.append(
                Prefill(int(ends[entry]) - count, count, length, self._tensor(table.copy()))
            )
        if not (wanted == counts).all():
            batch.logit_rows = self._tensor(_spread(ends - wanted, wanted))
        return batch

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor if self._device.type == "cpu" else tensor.to(self._device, non_blocking=True)


def _spread(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, … start + count - 1 of each pair, one after another: int64."""
    ends = np.cumsum(counts)
    total = int(counts.sum())
    result: np.ndarray = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return result
