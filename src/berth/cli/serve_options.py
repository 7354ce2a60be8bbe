"""The options of berth serve that no other module owns, in the groups of its help."""

from __future__ import annotations

from typing import get_args

import click

from berth.cli.degree import DegreeType
from berth.cli.sizes import Bytes
from berth.protocol.config import Device, DeviceMap, Dtype, Verify
from berth.protocol.engines import EngineKind

HTTP = [
    click.option(
        "--host",
        envvar="BERTH_HOST",
        help="Address to listen on.  [default: loopback; all with keys]",
    ),
    click.option(
        "--port",
        default=5000,
        envvar="BERTH_PORT",
        show_default=True,
        help="Port to listen on; 0: any.",
    ),
    click.option("--name", "model_id", help="Name of the model for clients.  [default: its own]"),
    click.option("--alias", multiple=True, help="A further name for the model; repeatable."),
    click.option(
        "--max-waiting", default=256, show_default=True, help="Requests that may wait in the queue."
    ),
    click.option(
        "--request-timeout",
        default=600.0,
        show_default=True,
        help="Seconds that a request may take, waiting included.",
    ),
    click.option(
        "--grace",
        default=25.0,
        show_default=True,
        help="Seconds that running requests get when the server ends.",
    ),
    click.option("--allow-shutdown", is_flag=True, help="POST /shutdown without a key."),
    click.option(
        "--cors-origin",
        multiple=True,
        help="Origin of a web page that may call, as http://localhost:3000 or "
        "vscode-webview://*; repeatable.",
    ),
    click.option(
        "--allowed-host",
        multiple=True,
        help="Host name under which clients reach the server; repeatable.  [default: on loopback "
        "without keys this machine's own, else any]",
    ),
    click.option(
        "--forwarded-allow",
        multiple=True,
        help="Address or network of a proxy whose X-Forwarded-Host and X-Forwarded-Prefix are "
        "believed; repeatable.",
    ),
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text"),
    click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info"),
]
ENGINE = [
    click.option(
        "--dtype",
        type=click.Choice(get_args(Dtype)),
        default="auto",
        help="Number format of weights and cache.  [default: the stored dtype, if it is fast]",
    ),
    click.option(
        "--device",
        type=click.Choice(get_args(Device)),
        default="auto",
        help="[default: a GPU if there is one]",
    ),
    click.option(
        "--max-model-len",
        "--max_seq_len",
        type=click.IntRange(min=2),
        help="Tokens of prompt and output together.  [default: as trained, if memory allows]",
    ),
    click.option(
        "--max-num-seqs",
        "--max_batch_size",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Sequences computed at once; others wait.",
    ),
    click.option(
        "--max-batch-tokens",
        type=click.IntRange(min=1),
        default=1024,
        show_default=True,
        help="Tokens computed in one step.",
    ),
    click.option(
        "--kv-cache-memory",
        type=Bytes(),
        help="Memory of the KV cache of each rank, as 8G.  [default: what fits; outside a "
        "container a quarter of it, but room for one sequence]",
    ),
    click.option(
        "--memory-fraction",
        type=click.FloatRange(0.05, 1.0),
        help="Share of memory that may be in use (the container's, if it is limited), others "
        "included.  [default: 0.95]",
    ),
    click.option(
        "--no-prefix-caching",
        is_flag=True,
        help="Do not share cached blocks between prompts that begin alike.",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads of a rank."),
    click.option(
        "--chat-template",
        help="One of Berth's, a file, or jinja for the folder's.  [default: the model's own]",
    ),
    click.option(
        "--tokenizer",
        "--tokenizer_path",
        help="File of the tokenizer, if it is not with the weights.",
    ),
    click.option(
        "--verify",
        type=click.Choice(get_args(Verify)),
        default="auto",
        show_default=True,
        help="Hold the weights to their checksums while they load: off, all that are known (auto), "
        "or refuse files of which none is known (full).",
    ),
    click.option(
        "--weights",
        "--ckpt_dir",
        envvar="BERTH_WEIGHTS",
        help="Folder of the weights; MODEL then only says what they are.",
    ),
]
RUNTIME = [
    click.option(
        "--engine",
        type=click.Choice(["auto", *get_args(EngineKind)]),
        default="auto",
        help="[default: native if it knows the architecture, else transformers]",
    ),
    click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Run Python files of the model's folder, with all your rights. Read them first.",
    ),
    click.option(
        "--disable_trust_remote_code",
        is_flag=True,
        hidden=True,
        help="As KAITO's images say it; here it is off already.",
    ),
    click.option(
        "--load-in-8bit",
        "--load_in_8bit",
        is_flag=True,
        help="Quantise while loading (transformers engine, NVIDIA GPU).",
    ),
    click.option("--load-in-4bit", "--load_in_4bit", is_flag=True, help="The same in 4 bits."),
    click.option(
        "--device-map",
        type=click.Choice(get_args(DeviceMap)),
        default="auto",
        help="How the transformers engine spreads a model over several GPUs.",
    ),
]
PARALLEL = [
    click.option(
        "--degree",
        "--tensor-parallel-size",
        "--model_parallel_size",
        type=DegreeType(),
        default=1,
        envvar="BERTH_DEGREE",
        show_default=True,
        help="Ranks that share the model, over all nodes (tensor parallelism); "
        "auto: as many as this machine's GPUs allow.",
    ),
    click.option("--nnodes", type=click.IntRange(min=1), default=1, help="Number of machines."),
    click.option(
        "--node-rank", type=click.IntRange(min=0), default=0, help="Number of this machine, from 0."
    ),
    click.option("--rdzv-endpoint", help="HOST:PORT of node 0, where the ranks meet."),
    click.option(
        "--hang-timeout",
        default=3.5,
        show_default=True,
        help="Seconds without progress after which a rank counts as hung.",
    ),
    click.option(
        "--restart-pause",
        type=click.FloatRange(0.0),
        default=30.0,
        show_default=True,
        help="Longest pause, in seconds, between two starts of an engine that keeps ending.",
    ),
]
