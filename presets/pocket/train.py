"""Trains Pocket from scratch on the scripted corpus and writes weights/.

The corpus is a seeded stream: step n sees the same batch on every machine. A resumed run draws a
new stream, seeded by the step that it resumes from.
Rounding differs between processors, so the weights do not come out bit for bit the same.

On a CPU that other work shares, one process per core beats one process with a thread per core:
    OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 train.py
The processes then meet once a step, not once an operation. (Two threads on two busy cores ran
about ten times slower here, waiting for each other at every operation.)
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import corpus
import torch
import torch.distributed as dist
import torch.nn.functional as F
from encoding import Encoder
from model import WEIGHTS, Params, Pocket, load
from torch import Tensor

import tokenizer

POOL = 4096  # documents sorted by length together, so that rows are padded little
BATCH_TOKENS = 8192  # over all processes together; a process takes whole conversations
WARMUP = 200
REPORT_EVERY = 100
Row = tuple[list[int], list[tuple[int, int]]]  # tokens, and the spans of them that carry loss
IGNORED = -100  # cross entropy's own mark for positions without a target


def batches(encoder: Encoder, seed: str, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (tokens, targets) pairs, both (rows, time), of at most ``limit`` tokens each."""
    pool = 0
    while True:
        rng = random.Random(f"{seed}/{pool}")
        rows: list[Row] = []
        for _ in range(POOL):
            document = corpus.sample(rng)
            rows.append(encoder.document(document, trailing_space=rng.random() < 0.25))
        longest = min(Params().max_seq_len, limit) + 1
        rows = sorted((row for row in rows if len(row[0]) <= longest), key=lambda row: len(row[0]))
        groups: list[list[Row]] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * _padded(len(row[0]) - 1) > limit:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            yield _pad(group)
        pool += 1


def _padded(length: int) -> int:
    return -(-length // 8) * 8  # few distinct shapes, and AMX tiles like multiples


def _pad(group: list[Row]) -> tuple[Tensor, Tensor]:
    width = _padded(max(len(tokens) for tokens, _ in group) - 1)
    inputs = torch.full((len(group), width), 2)
    targets = torch.full((len(group), width), IGNORED)
    for row, (tokens, spans) in enumerate(group):
        inputs[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
        for start, end in spans:
            targets[row, start - 1 : end - 1] = torch.tensor(tokens[start:end])
    return inputs, targets


def rate(step: int, steps: int, peak: float) -> float:
    """Learning rate: linear warm-up, then cosine to a hundredth of the peak."""
    if step < WARMUP:
        return peak * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def save(model: Pocket, folder: Path) -> None:
    """Write consolidated.00.pth (bf16, Meta's names) and params.json."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    torch.save(state, folder / "consolidated.00.pth")
    model.params.save(folder)


class Trainer:
    """The model twice, its optimiser, and the gradient step between them.

    The bf16 copy computes and the fp32 master learns: bf16 alone loses small updates, and
    autocast would cast every weight again at every step.
    """

    def __init__(self, seed: int, peak: float) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.step = 0
        self.master = Pocket(Params())
        self.master.initialise(torch.Generator().manual_seed(seed))
        self.master.to(self.device)
        self.work = Pocket(Params()).to(self.device, torch.bfloat16)
        self._pairs = list(zip(self.master.parameters(), self.work.parameters(), strict=True))
        self._sizes = [learned.numel() for learned, _ in self._pairs]
        matrices = [learned for learned, _ in self._pairs if learned.dim() > 1]
        norms = [learned for learned, _ in self._pairs if learned.dim() == 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}],
            lr=peak,
            betas=(0.9, 0.98),
            fused=True,
        )

    def learn(self, inputs: Tensor, targets: Tensor, lr: float) -> float:
        """One step on (rows, time) tokens; returns the mean loss of the answers' tokens."""
        with torch.no_grad():
            for learned, used in self._pairs:
                used.copy_(learned)
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        # Only answers carry loss, so only their states go through the output matrix.
        wanted = targets != IGNORED
        logits = self.work.output(self.work.hidden(inputs)[wanted])
        loss = F.cross_entropy(logits.float(), targets[wanted])
        loss.backward()  # type: ignore[no-untyped-call]
        grads = [used.grad.float().flatten() for _, used in self._pairs if used.grad is not None]
        flat = torch.cat(grads)
        self.work.zero_grad()
        if self.world > 1:
            dist.all_reduce(flat)
            flat /= self.world
        for (learned, _), piece in zip(self._pairs, torch.split(flat, self._sizes), strict=True):
            learned.grad = piece.view_as(learned)
        torch.nn.utils.clip_grad_norm_(self.master.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        self.step += 1
        return loss.item()

    def start_from(self, folder: Path) -> None:
        """Begin with the weights of a folder that ``save`` wrote, and a fresh optimiser."""
        self.master.load_state_dict(load(folder).state_dict())

    def save(self, checkpoint: Path) -> None:
        """Write all that a resumed run needs."""
        state = {"model": self.master.state_dict(), "optimiser": self.optimiser.state_dict()}
        torch.save({**state, "step": self.step}, checkpoint)

    def resume(self, checkpoint: Path) -> None:
        """Continue from a file that ``save`` wrote."""
        saved = torch.load(checkpoint, weights_only=True, map_location=self.device)
        self.master.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step = saved["step"]


def train(
    steps: int,
    peak: float,
    seed: int,
    folder: Path,
    init: Path | None,
    checkpoint: Path | None,
    save_every: int,
) -> None:
    """Train for ``steps`` steps: on from ``checkpoint`` if that file exists, else from ``init``."""
    rank = int(os.environ.get("RANK", "0"))
    trainer = Trainer(seed, peak)
    if trainer.world > 1:
        dist.init_process_group("gloo")
    if checkpoint is not None and checkpoint.exists():
        trainer.resume(checkpoint)
        print(f"resumed at step {trainer.step}", flush=True)
    elif init is not None:
        trainer.start_from(init)
    stream = f"{seed}/{trainer.step}"
    every = batches(Encoder(folder / "tokenizer.model"), stream, BATCH_TOKENS // trainer.world)
    # Each process takes its share of the one stream.
    mine = islice(every, rank, None, trainer.world)
    started, tokens_seen, losses = time.monotonic(), 0, 0.0
    for inputs, targets in mine:
        if trainer.step >= steps:
            break
        losses += trainer.learn(inputs, targets, rate(trainer.step, steps, peak))
        tokens_seen += inputs.numel() * trainer.world
        if rank != 0:
            continue
        if trainer.step % REPORT_EVERY == 0:
            spent = time.monotonic() - started
            print(
                f"step {trainer.step}/{steps} loss {losses / REPORT_EVERY:.4f} "
                f"{tokens_seen / spent:.0f} tok/s {spent:.0f} s",
                flush=True,
            )
            losses = 0.0
        if checkpoint is not None and trainer.step % save_every == 0:
            trainer.save(checkpoint)
            save(trainer.master, folder)
    if rank == 0:
        save(trainer.master, folder)


def main() -> None:
    """Train the tokenizer if it is missing, then the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=9900)
    parser.add_argument("--peak", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--init", type=Path, help="start from the weights of this folder")
    parser.add_argument("--checkpoint", type=Path, help="save to and resume from this file")
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not (arguments.out / "tokenizer.model").exists():
        (arguments.out / "tokenizer.model").write_bytes(tokenizer.train())
    train(
        arguments.steps,
        arguments.peak,
        arguments.seed,
        arguments.out,
        arguments.init,
        arguments.checkpoint,
        arguments.save_every,
    )


if __name__ == "__main__":
    main()
