"""KAITO's launch lines, in Berth's images: torchrun or accelerate, then inference-api.py.

    cd /workspace/llama/llama-2 && torchrun --nnodes=1 --nproc_per_node=2 … inference-api.py
        --max_seq_len=512 --max_batch_size=8
    accelerate launch --use_deepspeed --config_file=config.yaml --num_processes=1 … inference-api.py

There, torchrun starts one copy of the script for each GPU, and the first of them serves. Berth's
server starts its own engine processes, so here the first copy on a node becomes `berth serve` for
as many ranks as there are copies, and the others wait for its end.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

# Where the ranks of several nodes meet; the launch lines' own 29500 is torchrun's.
_PORT = "29501"
# What torchrun tells its workers. The engine's own torchrun must not find it.
_TORCHRUN = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "WORLD_SIZE"),
    *("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)
_PATIENCE = 60.0  # seconds for the first copy to come up


def inference_api() -> None:
    """What inference-api.py runs. Ends the process with the server's exit code."""
    environment = dict(os.environ)
    if environment.get("LOCAL_RANK", "0") != "0":
        sys.exit(follow(meeting_place(environment)))
    with socket.socket(socket.AF_UNIX) as held:
        if int(environment.get("LOCAL_WORLD_SIZE", "1")) > 1:
            # The others are connected to it for as long as this process lives.
            held.bind(meeting_place(environment))
            held.listen(int(environment["LOCAL_WORLD_SIZE"]))
        arguments = serve_arguments(sys.argv[1:], environment)
        _forget_torchrun()
        from berth.cli.main import main

        main(["serve", *arguments])


def serve_arguments(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The arguments of `berth serve` for the copy with local rank 0."""
    ranks = environment.get("WORLD_SIZE", "")
    nodes = int(environment.get("GROUP_WORLD_SIZE", "1"))
    # KAITO's default is where its image has them, from the folder that it starts in.
    weights = [] if "BERTH_WEIGHTS" in environment else ["--ckpt_dir", "weights/"]
    degree = ["--degree", ranks] if ranks else []
    several: list[str] = []
    if nodes > 1:
        port = environment.get("BERTH_RDZV_PORT", _PORT)
        several = [
            *("--nnodes", str(nodes), "--node-rank", environment["GROUP_RANK"]),
            *("--rdzv-endpoint", f"{environment['MASTER_ADDR']}:{port}"),
        ]
    return [*weights, *degree, *several, *arguments]  # the last one counts: what was given, wins


def meeting_place(environment: Mapping[str, str]) -> str:
    """Name of the socket between this node's copies; needs no file, and dies with its owner."""
    keys = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "GROUP_RANK", "MASTER_PORT")
    return "\0berth-kaito-" + "-".join(environment.get(key, "") for key in keys)


def follow(place: str, patience: float = _PATIENCE) -> int:
    """Wait until the first copy ends. 0, whatever its own code is: torchrun sees that itself.

    1 if it did not come up within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as leader:
            try:
                leader.connect(place)
                leader.recv(1)  # nothing is ever sent
            except ConnectionRefusedError:
                time.sleep(0.1)
                continue
            except ConnectionResetError:
                pass
            return 0
    sys.stderr.write("inference-api.py: the copy with local rank 0 has not started\n")
    return 1


def _forget_torchrun() -> None:
    # torchrun sets one thread for each of several copies; here one process has all of them.
    if os.environ.get("LOCAL_WORLD_SIZE", "1") != "1" and os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]
    for name in list(os.environ):
        if name in _TORCHRUN or name.startswith("TORCHELASTIC_"):
            del os.environ[name]


def accelerate() -> NoReturn:
    """What the command `accelerate` of the Falcon image runs: the script, without DeepSpeed."""
    try:
        script, arguments = parse_accelerate(sys.argv[1:])
    except ValueError as error:
        sys.stderr.write(f"accelerate: {error}\n")
        sys.exit(2)
    os.execv(sys.executable, [sys.executable, script, *arguments])


def parse_accelerate(words: Sequence[str]) -> tuple[str, list[str]]:
    """The script and its arguments in `accelerate launch OPTIONS SCRIPT ARGUMENTS`.

    The options that choose DeepSpeed, a configuration file, GPUs or precision are passed over:
    Berth's engine decides those. Raises ValueError for more than one process or machine.
    """
    if not words or words[0] != "launch":
        raise ValueError("in this image it only knows `accelerate launch … inference-api.py`")
    place = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
    if place is None:
        raise ValueError("no Python script is named")
    options = words[1:place]
    for i, word in enumerate(options):
        name, equals, value = word.partition("=")
        if name in ("--num_processes", "--num_machines"):
            value = value if equals else next(iter(options[i + 1 :]), "")
            if value != "1":
                raise ValueError(
                    f"{name} should be 1, not {value!r}: one server process spreads the model "
                    "over the GPUs itself (--degree)"
                )
    return words[place], list(words[place + 1 :])
