"""The engine process: load, find out what the model can do, then step until told to stop."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable

from berth.engines.host.device import device_memory, use_threads
from berth.engines.host.link import Link
from berth.engines.host.loop import Loop
from berth.engines.transformers.both import Both
from berth.engines.transformers.cache_size import cache_tokens
from berth.engines.transformers.core import Core
from berth.engines.transformers.loading import load_model, positions_of
from berth.engines.transformers.model import CausalModel
from berth.engines.transformers.probe import Abilities, probe
from berth.fit.budget import engine_room
from berth.limits.memory import mapped_file_bytes
from berth.protocol.config import EngineConfig
from berth.protocol.messages import Loading, Ready

log = logging.getLogger(__name__)

_LOADING_SECONDS = 0.2  # between two reports of progress


def start(config: EngineConfig, link: Link) -> Callable[[], None]:
    """Load; returns what serves until the supervisor says Shutdown.

    Raises what makes starting impossible.
    """
    use_threads(config.threads, 1)
    core, ready, steps = _load(config, link)
    gc.collect()
    gc.freeze()  # the model lives for ever: spare the collector from walking it
    link.send(ready)
    loop: Loop
    both = Both(core, link.send, lambda: loop.turn(), vocab_size=ready.vocab_size, steps=steps)
    loop = Loop(both, link)
    return loop.run


def _load(config: EngineConfig, link: Link) -> tuple[Core, Ready, bool]:
    began = time.monotonic()
    link.pulse.busy = True
    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        link.pulse.beat()
        now = time.monotonic()
        if now - told >= _LOADING_SECONDS or done >= total:
            told = now
            link.send(Loading(0, done, max(total, 1)))

    loaded = load_model(config, progress, link.pulse.beat)
    model = CausalModel(loaded, link.pulse.beat)
    positions = positions_of(loaded.config, config.max_model_len)
    abilities = probe(model)
    log.info(
        "%s: %s", type(loaded).__name__,
        "in batches" if abilities.batches
        else "one pass for each sequence" if abilities.steps
        else "through generate, one request at a time",
    )  # fmt: skip
    capacity = _capacity(config, abilities, positions)
    reach = min(positions, capacity)
    link.pulse.busy = False
    core = Core(
        model,
        link.pulse,
        capacity=capacity,
        max_num_seqs=config.max_num_seqs,
        max_batch_tokens=max(config.max_batch_tokens, config.max_num_seqs),
        max_model_len=reach,
        batches=abilities.batches,
        chunks=abilities.chunks,
    )
    weights = {tensor.data_ptr(): tensor for tensor in loaded.parameters()}
    per_token = sum(abilities.bytes_per_token.values())
    per_sequence = sum(abilities.bytes_per_sequence.values())
    return (
        core,
        Ready(
            engine="transformers",
            architecture=type(loaded).__name__,
            vocab_size=abilities.vocab_size,
            max_model_len=reach,
            max_num_seqs=config.max_num_seqs,
            block_size=1,
            blocks_total=capacity,
            dtype=str(loaded.dtype).removeprefix("torch."),
            device=str(loaded.device),
            degree=1,
            weight_bytes=sum(t.numel() * t.element_size() for t in weights.values()),
            kv_bytes=capacity * per_token + config.max_num_seqs * per_sequence,
            load_seconds=time.monotonic() - began,
            generates=True,
        ),
        abilities.steps,
    )


def _capacity(config: EngineConfig, abilities: Abilities, positions: int) -> int:
    """Tokens that the caches may hold: the least over the devices that hold parts of them.

    Raises:
        DoesNotFit: not even one.
    """
    wanted = config.max_num_seqs * positions
    capacity = wanted
    for device, size in abilities.bytes_per_token.items():
        if size == 0:
            continue
        on_cpu = device.type == "cpu"
        memory = device_memory(device)
        # Weights are mapped from their files: page cache, but none of it can be given up.
        mapped = mapped_file_bytes() if on_cpu else 0
        room = engine_room(
            "transformers",
            "cpu" if on_cpu else "gpu",
            total=memory.total,
            free=memory.free - mapped,
            fraction=config.memory_fraction,
        )
        fixed = abilities.bytes_per_sequence.get(device, 0) * config.max_num_seqs
        tokens = cache_tokens(
            bytes_per_token=size,
            wanted=wanted,
            longest=positions,
            room=max(0, room - fixed),
            kv_cache_bytes=config.kv_cache_bytes,
            shared=on_cpu and not memory.limited and config.memory_fraction is None,
        )
        capacity = min(capacity, tokens)
    return capacity
