"""Peak device memory of the native engine on a GPU, for one shape; a process for each.

    python -m tools.fit_measure_gpu '{"layers": 2, …}'

prints bytes; exit 3 says that the device's memory ran out. Weights are made on the fly by a
source of random rows, so that no file of the model's size is needed.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from berth.models.parallel import Group
    from berth.models.weights.source import WeightError

RAN_OUT = 3
_NEW_TOKENS = 8


def device() -> tuple[str, int]:
    """(product, bytes) of the first GPU. Raises RuntimeError where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("no CUDA GPU is available; the GPU points need one")
    name = torch.cuda.get_device_name(0).replace(" ", "-")
    return name, torch.cuda.mem_get_info(0)[1]


def main() -> int:
    """One point, given as JSON on the command line."""
    import torch

    run = json.loads(sys.argv[1])
    try:
        print(_measure(run))  # noqa: T201 - this is its answer
    except torch.cuda.OutOfMemoryError:
        return RAN_OUT
    return 0


def _measure(run: dict[str, Any]) -> int:
    """Serve it on the first GPU. Returns bytes: the allocator's peak and what is beside it."""
    import torch

    from berth.models.parallel import join_group

    where = torch.device("cuda", 0)
    torch.cuda.set_device(where)
    serve(run, join_group(where))
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info(where)
    # What is in use beside torch's cache: the context, kernels, libraries' workspaces.
    beside = total - free - torch.cuda.memory_reserved(where)
    return int(torch.cuda.max_memory_reserved(where) + beside)


def serve(run: dict[str, Any], group: Group) -> int:
    """Run every sequence to its length, sampled the dearest way. Returns the rank's weights."""
    import torch

    from berth.checkpoint.config import ModelConfig
    from berth.engines.host.link import Pulse
    from berth.engines.native.block_manager import BlockManager
    from berth.engines.native.broadcast import PlanChannel
    from berth.engines.native.core import Core
    from berth.engines.native.runner import Runner
    from berth.engines.native.scheduler import Scheduler
    from berth.kernels.batch import BLOCK
    from berth.models.registry import model_class
    from berth.protocol.messages import SamplingParams, Submit

    config = ModelConfig(
        architecture="llama",
        vocab_size=run["vocab"],
        hidden_size=run["hidden"],
        intermediate_size=run["intermediate"],
        num_layers=run["layers"],
        num_heads=run["heads"],
        num_kv_heads=run["kv_heads"],
        head_dim=run["hidden"] // run["heads"],
        max_position=run["context"],
        tie_embeddings=run["tied"],
        dtype=run["dtype"],
    )
    sequences, context = run["concurrency"], run["context"]
    blocks = sequences * -(-context // BLOCK)
    with torch.inference_mode():
        model = model_class(config)(config, group, getattr(torch, run["dtype"]), context)
        weights = model.load(_RandomSource(config), lambda count: None)
        runner = Runner(model, blocks, sequences, context)
    tokens = max(run["batch_tokens"], sequences)
    scheduler = Scheduler(sequences, tokens, BlockManager(blocks, BLOCK, False), context)
    core = Core(scheduler, runner, PlanChannel(group), Pulse())
    rng = random.Random(0)
    for index in range(sequences):
        prompt = [rng.randrange(3, run["vocab"]) for _ in range(context - _NEW_TOKENS)]
        params = SamplingParams(
            max_tokens=_NEW_TOKENS,
            temperature=1.0,
            seed=index,
            presence_penalty=0.1,
            prompt_logprobs=0,  # logits of whole steps
        )
        refused = core.submit(Submit(index, prompt, params))
        if refused is not None:
            raise RuntimeError(f"the engine refused a sequence: {refused.deltas[0].error}")
    while scheduler.has_work:
        core.step()
    return weights


class _RandomSource:
    """A WeightSource that makes rows up when they are asked for."""

    def __init__(self, config: Any) -> None:
        from berth.models.weights.names import tensor_shapes

        self.config = config
        self.files = ()
        self._shapes = tensor_shapes(config)

    @property
    def total_bytes(self) -> int:
        return 0

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Every tensor can be made up."""

    def read(self, name: str, *, dim: int = 0, start: int = 0, length: int | None = None) -> Any:
        """Rows on the host, as a file's would be; the same few numbers over and over."""
        import torch

        shape = list(self._shapes[name])
        if length is not None:
            shape[dim] = length
        dtype = getattr(torch, self.config.dtype)
        row = torch.randn(shape[-1], generator=torch.Generator().manual_seed(0)).mul_(0.02)
        return row.to(dtype).expand(shape)

    def refuse(self, name: str, why: str) -> WeightError:
        """What is made up is never refused; the protocol asks for it."""
        from berth.models.weights import source

        return source.WeightError(name, "no file", why)

    def release(self, name: str) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is open."""


if __name__ == "__main__":
    sys.exit(main())
