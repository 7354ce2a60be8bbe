"""The options that say how a model is to run, alike in every command that asks whether it fits."""

from __future__ import annotations

import click

from berth.cli.option_groups import options_of
from berth.fit.engines import ENGINES
from berth.fit.quantization import SCHEMES

workload_options = options_of(
    [
        click.option("--context", type=int, metavar="TOKENS", help="Tokens of prompt and answer."),
        click.option(
            "--concurrency", type=int, metavar="N", help="Sequences of that length at a time."
        ),
        click.option("--engine", type=click.Choice(ENGINES), help="The engine that runs it."),
        click.option(
            "--dtype",
            default="auto",
            show_default=True,
            help="Number format of weights that are not quantised.",
        ),
        click.option(
            "--quantize",
            type=click.Choice(list(SCHEMES)),
            help="Quantise the weights in this format.",
        ),
        click.option(
            "--kv-dtype", default="auto", show_default=True, help="Number format of the KV cache."
        ),
        click.option("--tensor", type=int, metavar="DEGREE", help="Tensor-parallel degree."),
    ]
)
