"""One rank of the native engine: load, then step after step until told to stop.

Rank 0 hears requests, decides every step (scheduler) and samples; the others repeat what its
plans say. All ranks run the same forward pass in lock-step.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from berth.checkpoint.folder import load_config
from berth.engines.host.device import choose_device, choose_dtype, local_ranks, use_threads
from berth.engines.host.link import Link
from berth.engines.host.loop import Loop
from berth.engines.native.block_manager import BlockManager
from berth.engines.native.broadcast import PlanChannel
from berth.engines.native.budget import MemoryMeter, rank_budget
from berth.engines.native.core import Core
from berth.engines.native.runner import Runner
from berth.engines.native.scheduler import Scheduler
from berth.fit.units import human
from berth.kernels.batch import BLOCK
from berth.limits.memory import give_back
from berth.models.parallel import Group, join_group
from berth.models.registry import model_class
from berth.models.weights.folder import open_weights
from berth.models.weights.verify import verification
from berth.protocol.config import EngineConfig
from berth.protocol.messages import Loading, Ready

log = logging.getLogger(__name__)

# Progress of loading is reported at most this often, in bytes.
_LOADING_STEP = 32 * 1024 * 1024


def start(config: EngineConfig, link: Link) -> Callable[[], None]:
    """Load; returns what serves until the supervisor says Shutdown.

    Raises what makes starting impossible.
    """
    device = choose_device(config.device)
    use_threads(config.threads, local_ranks())
    link.pulse.busy = True  # a rank that waits for the others for ever counts as hung
    group = join_group(device)
    meter = MemoryMeter(device)
    runner, ready = _load(config, group, link)
    channel = PlanChannel(group)
    link.pulse.busy = False
    gc.collect()
    gc.freeze()  # the model lives for ever: spare the collector from walking it
    if group.rank > 0:
        return partial(_follow, runner, channel, link)
    scheduler = Scheduler(
        config.max_num_seqs,
        max(config.max_batch_tokens, config.max_num_seqs),
        BlockManager(ready.blocks_total, BLOCK, config.prefix_caching),
        ready.max_model_len,
    )
    link.send(ready)
    return partial(_lead, Core(scheduler, runner, channel, link.pulse, meter.peak), link)


def _load(config: EngineConfig, group: Group, link: Link) -> tuple[Runner, Ready]:
    began = time.monotonic()
    numbers = load_config(config.model)
    numbers.require_degree(group.degree)
    dtype = choose_dtype(config.dtype, numbers.dtype, group.device)
    positions = min(config.max_model_len or numbers.max_position, numbers.max_position)
    # Refuses before anything is loaded. If there is no room for the longest sequence, there is
    # none for the tables of its positions either.
    positions = rank_budget(config, numbers, group, dtype, positions).max_model_len
    source = open_weights(config.model)
    total = source.total_bytes // group.degree
    done, told = 0, 0

    def loaded(count: int) -> None:
        nonlocal done, told
        done += count
        link.pulse.beat()
        if done - told >= _LOADING_STEP:
            told = done
            link.send(Loading(group.rank, done, max(total, done)))

    link.send(Loading(group.rank, 0, total))
    verifying = verification(Path(config.model), source.files, config.verify, link.pulse.beat)
    with verifying, torch.inference_mode():
        model = model_class(numbers)(numbers, group, dtype, positions)
        weight_bytes = model.load(source, loaded)
        verifying.finish()
    source.close()
    give_back()
    link.send(Loading(group.rank, weight_bytes, weight_bytes))
    budget = rank_budget(config, numbers, group, dtype, positions, loaded_bytes=weight_bytes)
    blocks = _smallest(budget.blocks, group)
    reach = _smallest(min(budget.max_model_len, blocks * BLOCK), group)
    cache_bytes = blocks * model.cache_bytes_per_block()
    if group.rank == 0:
        log.info(
            "KV cache: %s for %d tokens, %s; one sequence may have %d",
            human(cache_bytes), blocks * BLOCK, budget.cache_rule, reach,
        )  # fmt: skip
    with torch.inference_mode():
        runner = Runner(model, blocks, config.max_num_seqs, reach)
    return runner, Ready(
        engine="native",
        architecture=numbers.architecture,
        vocab_size=numbers.vocab_size,
        max_model_len=reach,
        max_num_seqs=config.max_num_seqs,
        block_size=BLOCK,
        blocks_total=blocks,
        dtype=str(dtype).removeprefix("torch."),
        device=str(group.device),
        degree=group.degree,
        weight_bytes=weight_bytes,
        kv_bytes=cache_bytes,
        load_seconds=time.monotonic() - began,
        estimated=budget.bytes,
    )


def _smallest(number: int, group: Group) -> int:
    """Every rank's cache must hold the same blocks: the smallest room decides."""
    if group.degree == 1:
        return number
    count = torch.tensor([number])
    torch.distributed.all_reduce(count, op=torch.distributed.ReduceOp.MIN)
    return int(count)


def _lead(core: Core, link: Link) -> None:
    """Rank 0: serve, and then end the other ranks."""
    channel = core.channel
    Loop(core, link, idle=None if channel.alone else channel.send_sign_of_life).run()
    channel.send(None)


def _follow(runner: Runner, channel: PlanChannel, link: Link) -> None:
    """Another rank's loop: repeat each plan."""
    pulse = link.pulse
    while (plan := channel.receive()) is not None:
        if plan.empty:
            continue
        pulse.busy = True
        runner.run(plan, pulse.beat)
        pulse.busy = False
