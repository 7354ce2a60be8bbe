"""How many ranks share the model: a number, or as many as the GPUs of this machine allow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import click

from berth.checkpoint.folder import load_config

Degree = int | Literal["auto"]


class DegreeType(click.ParamType):  # type: ignore[type-arg]  # not generic when it runs
    """A number of ranks, or auto."""

    name = "ranks"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Degree:
        if isinstance(value, int):
            return value
        if value == "auto":
            return "auto"
        if not re.fullmatch(r"[1-9]\d*", str(value)):
            self.fail(f"{value!r} should be a number from 1, or auto", param, ctx)
        return int(value)


def automatic_degree(folder: Path, gpus: int) -> int:
    """The largest number of ranks, of at most `gpus`, that the model can be divided between.

    1 without GPUs: on a CPU, ranks would share the same memory's bandwidth.

    Raises:
        ConfigError: the folder describes no model that the native engine knows.
    """
    if gpus < 2:
        return 1
    return max(degree for degree in load_config(folder).degrees() if degree <= gpus)


def visible_gpus(devices: Path = Path("/dev")) -> int:
    """NVIDIA GPUs that this process may use. Asks no driver, so that torch need not be imported."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([part for part in named.split(",") if part.strip() not in ("", "-1")])
    return sum(1 for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
