"""The options that name a machine, alike in every command that asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from berth.cli.option_groups import options_of
from berth.cli.sizes import Size
from berth.fit import Machine, cpu_node, gpus_of_memory, own_gpus, sku
from berth.fit.units import GIB

NAMES = "--sku, --gpu, --gpu-memory and --ram"
machine_options = options_of(
    [
        click.option("--sku", "sku_name", metavar="TYPE", help="A cloud's instance type."),
        click.option(
            "--gpu", metavar="PRODUCT", help='Own hardware: a card, "L4" or "RTX 4090" say.'
        ),
        click.option(
            "--gpu-memory",
            type=Size(),
            metavar="GIB",
            help="Memory of each GPU, as nvidia-smi calls the total: any card, or another size of "
            "--gpu.",
        ),
        click.option("--count", type=int, default=1, show_default=True, help="GPUs in a node."),
        click.option(
            "--ram",
            type=Size(),
            metavar="GIB",
            help="Nodes without GPUs: their memory, 8 or 512M say.",
        ),
    ]
)


def named_machine(options: Mapping[str, Any]) -> Machine | None:
    """The machine that the options name; None if they name none.

    Raises:
        click.UsageError: they name several.
        UnknownMachine: no such instance type or card.
    """
    gpu = options["gpu"] is not None or options["gpu_memory"] is not None
    if [options["sku_name"] is not None, gpu, options["ram"] is not None].count(True) > 1:
        raise click.UsageError(f"one of {NAMES} is enough")
    if options["sku_name"] is not None:
        return sku(options["sku_name"])
    if options["gpu_memory"] is not None:
        return gpus_of_memory(options["gpu_memory"], options["count"], options["gpu"])
    if options["gpu"] is not None:
        return own_gpus(options["gpu"], options["count"])
    if options["ram"] is not None:
        return cpu_node(options["ram"], f"{options['ram'] / GIB:g} GiB of memory")
    return None
