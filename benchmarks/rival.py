"""One of transformers' engines in a process of its own: `python -m benchmarks.rival KIND FOLDER`.

Reads a JSON object per line from standard input, `{"prompts": [[ids]], "output_tokens": n}`, runs
all prompts at once, and writes one line back: seconds and when tokens came, or an error. The first
line says that the model is loaded.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers.generation.streamers import BaseStreamer

Prompts = list[list[int]]
Times = list[list[float]]  # arrival of each token, per request, from the start of the run
_PAGE_TOKENS = 256  # transformers' default
hf: Any = transformers  # not typed as strictly as this project


class _Clock(BaseStreamer):
    """Notes when generate() hands over each step's tokens."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def generate(model: Any, prompts: Prompts, output_tokens: int) -> tuple[float, Times]:
    """transformers' generate on one static batch. The end of sequence is not looked for."""
    clock = _Clock()
    config = hf.GenerationConfig(
        max_new_tokens=output_tokens, do_sample=False, pad_token_id=0, use_cache=True
    )
    start = time.perf_counter()
    ids = torch.tensor(prompts, device=model.device)
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), generation_config=config, streamer=clock
    )
    seconds = time.perf_counter() - start
    if out.shape[1] != ids.shape[1] + output_tokens:
        raise RuntimeError(f"generate gave {out.shape[1] - ids.shape[1]} tokens")
    steps = [moment - start for moment in clock.times[1:]]  # the first call brings the prompt
    return seconds, [steps] * len(prompts)


def continuous(model: Any, prompts: Prompts, output_tokens: int) -> tuple[float, Times]:
    """transformers' continuous batching. Its cache is sized for the run, before the clock starts:
    by default it takes 60 % of the machine's free memory."""
    pages = -(-(len(prompts[0]) + output_tokens) // _PAGE_TOKENS) + 1
    config = hf.GenerationConfig(
        max_new_tokens=output_tokens, do_sample=False, pad_token_id=0, eos_token_id=-1
    )
    batching = hf.ContinuousBatchingConfig(
        num_blocks=max(8, 2 * pages * len(prompts)),
        max_requests_per_batch=len(prompts),
        auto_switch_to_flash=model.device.type == "cuda",
    )
    times: dict[str, list[float]] = {}
    with model.continuous_batching_context_manager(
        generation_config=config, continuous_batching_config=batching
    ) as manager:
        start = time.perf_counter()
        names = manager.add_requests(prompts, max_new_tokens=output_tokens, record_timestamps=True)
        while len(times) < len(names):
            result = manager.get_result(timeout=1)
            if result is None:
                if not manager.is_running():
                    raise RuntimeError("the generation thread ended")
                continue
            if result.error is not None:
                raise RuntimeError(result.error)
            if result.is_finished():
                if len(result.generated_tokens) != output_tokens:
                    raise RuntimeError(f"{len(result.generated_tokens)} tokens were generated")
                times[result.request_id] = [moment - start for moment in result.timestamps]
        seconds = time.perf_counter() - start
    return seconds, [times[name] for name in names]


ENGINES: dict[str, Callable[[Any, Prompts, int], tuple[float, Times]]] = {
    "generate": generate,
    "continuous": continuous,
}


def main(kind: str, folder: str, device: str) -> None:
    """Load, then answer line by line until standard input ends."""
    # Whatever a library prints must not get between our lines.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run = ENGINES[kind]
    model = hf.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    model.generation_config.eos_token_id = None
    model = model.to(device).eval()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            seconds, times = run(model, asked["prompts"], asked["output_tokens"])
            answer: dict[str, object] = {"seconds": seconds, "times": times}
        except Exception as error:  # reported in the table, and the next run is tried
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
