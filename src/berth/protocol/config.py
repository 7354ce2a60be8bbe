"""What a server decides about its engine, handed to the engine process as one JSON argument."""

from __future__ import annotations

from typing import Literal

import msgspec

from berth.protocol.engines import EngineKind

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]
# off: nothing of the weights is read for its checksum. auto: what has a checksum or a digest. full:
# files that have none are refused.
Verify = Literal["off", "auto", "full"]
MAX_NUM_SEQS = 64  # sequences in one step, unless set
DeviceMap = Literal["auto", "balanced", "balanced_low_0", "sequential"]


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One engine, all its ranks. Validated by the server before a process is started."""

    model: str  # folder of the weights
    socket: str  # Unix socket where the supervisor of this node listens
    engine: EngineKind = "native"
    device: Device = "auto"
    dtype: Dtype = "auto"
    # None: the host's cores, shared between the ranks of this node.
    threads: int | None = None
    max_model_len: int | None = None  # tokens; None: the model's own, as far as the cache reaches
    max_num_seqs: int = MAX_NUM_SEQS  # sequences in one step
    max_batch_tokens: int = 1024  # positions computed in one step (prefill chunks and decodes)
    kv_cache_bytes: int | None = None  # per rank; None: sized from what memory is left
    # Of the device's memory (a container's limit, if it has one), what may be in use, others
    # included; None: see berth.fit.budget.
    memory_fraction: float | None = None
    prefix_caching: bool = True
    degree: int = 1  # tensor-parallel degree, over all nodes
    heartbeat_seconds: float = 0.5
    verify: Verify = "auto"
    # The rest is the transformers engine's.
    trust_remote_code: bool = False  # run the Python files of the model's folder
    load_in_8bit: bool = False  # quantise while loading, with bitsandbytes: NVIDIA GPUs only
    load_in_4bit: bool = False
    device_map: DeviceMap = "auto"  # how accelerate spreads the layers over this node's GPUs
