"""What choosing tokens costs a step: `python -m benchmarks.sampling` prints it as JSON, in ms.

Without a model: random logits of a step's rows, and sequences of so many random tokens, half of
them output. "greedy" is the least that a step can choose by; "penalties" has all three; the
rest is drawn.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

import click
import torch

from berth.engines.host.sequence import Sequence
from berth.engines.sampling.sampler import Sampler
from berth.kernels.native_ops import make_ops
from berth.kernels.ops import TorchOps
from berth.protocol.messages import SamplingParams

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "repetition": {"repetition_penalty": 1.1},
    "penalties": {
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.2,
    },
    "temperature": {"temperature": 1.0},
    "top_p": {"temperature": 0.7, "top_p": 0.9},
    "top_k": {"temperature": 0.8, "top_k": 40, "top_p": 0.95},
}
_MANY = 100_000  # tokens, so that no sequence ends


@click.command()
@click.option("--rows", default=16, show_default=True, type=click.IntRange(1))
@click.option("--vocab", default=32_000, show_default=True, type=click.IntRange(1))
@click.option("--context", default=8192, show_default=True, type=click.IntRange(2))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--repeats", default=50, show_default=True, type=click.IntRange(1))
def main(rows: int, vocab: int, context: int, threads: int, repeats: int) -> None:
    """Median milliseconds of one Sampler.sample, with torch's operations and with the kernels."""
    torch.set_num_threads(threads)
    chance = random.Random(1)
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(1)) * 3
    operations = {"torch": TorchOps(), "kernels": make_ops(torch.device("cpu"), torch.float32)}
    found: dict[str, dict[str, float]] = {}
    for name, ops in operations.items():
        sampler = Sampler(ops)
        found[name] = {}
        for way, penalties in WAYS.items():
            params = SamplingParams(**{"max_tokens": _MANY, "temperature": 0.0} | penalties)
            states = [_sequence(row, params, chance, vocab, context) for row in range(rows)]
            found[name][way] = _median(sampler, logits, states, repeats)
    click.echo(json.dumps(found, indent=2))


def _sequence(
    number: int, params: SamplingParams, chance: random.Random, vocab: int, context: int
) -> Sequence:
    tokens = [chance.randrange(vocab) for _ in range(context)]
    return Sequence(number, tokens[: context // 2], params, tokens[context // 2 :])


def _median(
    sampler: Sampler, logits: torch.Tensor, sequences: list[Sequence], repeats: int
) -> float:
    states = [sequence.sampling for sequence in sequences]
    times = []
    for _ in range(5 + repeats):
        start = time.perf_counter()
        sampler.sample(logits, states)
        times.append(time.perf_counter() - start)
    return round(sorted(times[5:])[repeats // 2] * 1000, 3)


if __name__ == "__main__":
    main()
