"""What each engine takes of a machine: an engine a file, behind one interface. Pure.

The rest of fit asks `arithmetic(name)` and never compares an engine's name. vLLM and llama.cpp are
here though Berth starts neither: `berth fit --engine` answers for them.
"""

from collections.abc import Mapping
from typing import get_args

from berth.fit.engines.base import DeviceKind, EngineArithmetic, EngineName
from berth.fit.engines.llamacpp import LlamaCpp
from berth.fit.engines.native import Native
from berth.fit.engines.transformers import Transformers
from berth.fit.engines.vllm import Vllm

__all__ = [
    "ENGINES",
    "EngineArithmetic",
    "EngineName",
    "arithmetic",
    "engines_that_load",
    "stand_in",
]

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
_ARITHMETIC: Mapping[EngineName, EngineArithmetic] = {
    "native": Native(),
    "vllm": Vllm(),
    "transformers": Transformers(),
    "llamacpp": LlamaCpp(),
}


def arithmetic(engine: EngineName) -> EngineArithmetic:
    """How this engine counts."""
    return _ARITHMETIC[engine]


def engines_that_load(scheme: str) -> list[EngineName]:
    """The engines that load weights packed so, in the alphabet's order."""
    return sorted(name for name, each in _ARITHMETIC.items() if scheme in each.schemes)


def stand_in(kind: DeviceKind) -> EngineName:
    """The engine that is counted for a model that none of Berth's runs: vLLM, if it runs there."""
    return "vllm" if kind == "gpu" or arithmetic("vllm").on_cpu else "transformers"
