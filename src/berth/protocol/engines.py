"""The engines that Berth can start, and what sets them apart: the one table of them. Pure.

A question about an engine ("does it run in ranks?") is asked of its traits and not of its name, so
that a new engine is a row here and not a branch in each place that asks. Which engine a model gets
is not said here (checkpoint/choose.py), nor what it takes of a machine (fit).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EngineKind = Literal["native", "transformers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraits:
    """What the server, the command line and the controller ask of an engine."""

    module: str  # that `python -m` runs
    extra: str  # of pyproject.toml, that installs what it imports
    layouts: frozenset[Literal["meta", "hf"]]  # of folders that it reads
    # How it shares a model between GPUs. "ranks": a process each under torchrun, on one node or
    # several, with a part of every matrix. "layers": one process on one node, which spreads the
    # layers over its GPUs.
    parallel: Literal["ranks", "layers"]
    quantises: bool  # while it loads
    generates: bool  # takes GenerateParams


ENGINES: Mapping[EngineKind, EngineTraits] = {
    "native": EngineTraits(
        module="berth.engines.native",
        extra="engine",
        layouts=frozenset({"meta", "hf"}),
        parallel="ranks",
        quantises=False,
        generates=False,
    ),
    "transformers": EngineTraits(
        module="berth.engines.transformers",
        extra="transformers",
        layouts=frozenset({"hf"}),
        parallel="layers",
        quantises=True,
        generates=True,
    ),
}
# The engine of requests that need `generate`, whatever engine serves the others.
GENERATING: EngineKind = next(kind for kind, traits in ENGINES.items() if traits.generates)
# The engine of weights that are to be quantised while they load.
QUANTISING: EngineKind = next(kind for kind, traits in ENGINES.items() if traits.quantises)
