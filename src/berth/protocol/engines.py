"""The engines that Berth can start, and what sets them apart: the one table of them. Pure.

A question about an engine ("does it run in ranks?") is asked of its traits and not of its name, so
that a new engine is a row here and not a branch in each place that asks. checkpoint/choose.py
decides which engine a model gets; fit computes what it takes of a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

EngineKind = Literal["native", "transformers"]
Parallel = Literal["ranks", "layers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraits:
    """What the server, the command line and the controller ask of an engine."""

    module: str  # that `python -m` runs
    extra: str  # of pyproject.toml, that installs what it imports
    layouts: frozenset[Literal["meta", "hf"]]  # of folders that it reads
    # How it shares a model between GPUs. "ranks": a process each under torchrun, on one node or
    # several, with a part of every matrix. "layers": one process on one node, which spreads the
    # layers over its GPUs.
    parallel: Parallel
    quantises: bool  # while it loads
    generates: bool  # takes GenerateParams
    # It computes what `checkpoint` describes, knows each tensor by name and shape, and refuses the
    # rest; else a library decides what it loads, and may run Python that lies beside the weights.
    by_description: bool


ENGINES: Mapping[EngineKind, EngineTraits] = {
    "native": EngineTraits(
        module="berth.engines.native",
        extra="engine",
        layouts=frozenset({"meta", "hf"}),
        parallel="ranks",
        quantises=False,
        generates=False,
        by_description=True,
    ),
    "transformers": EngineTraits(
        module="berth.engines.transformers",
        extra="transformers",
        layouts=frozenset({"hf"}),
        parallel="layers",
        quantises=True,
        generates=True,
        by_description=False,
    ),
}
# The engine of what `checkpoint` describes in full, and of everything else that can be loaded.
DESCRIBED: EngineKind = next(kind for kind, traits in ENGINES.items() if traits.by_description)
LIBRARY: EngineKind = next(kind for kind, traits in ENGINES.items() if not traits.by_description)
# The engine of requests that need `generate`, whatever engine serves the others.
GENERATING: EngineKind = next(kind for kind, traits in ENGINES.items() if traits.generates)
# The engine of weights that are to be quantised while they load.
QUANTISING: EngineKind = next(kind for kind, traits in ENGINES.items() if traits.quantises)


def parallel_of(engine: str) -> Parallel | Literal[""]:
    """How an engine shares a model between GPUs; "" if `engine` is none that Berth starts."""
    traits = ENGINES.get(cast(EngineKind, engine))
    return "" if traits is None else traits.parallel
