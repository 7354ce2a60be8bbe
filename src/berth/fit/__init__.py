"""Whether a model fits a machine, and every byte of the answer. Pure: no torch, no network.

    verdict = fit(FitRequest(model=numbers, name="llama-2-13b-chat", machine=sku("g5.12xlarge")))
    verdict.outcome        # "fits", "fits with less", "does not fit"
    explain(verdict)       # lines for people

The command line, the chart's hook, the controller and the engine at start ask this one function.
"""

from berth.fit.budget import EngineBudget, engine_budget
from berth.fit.explain import explain
from berth.fit.machines import (
    Device,
    Machine,
    UnknownMachine,
    all_skus,
    cpu_node,
    gpu,
    gpu_by_label,
    gpus_of_memory,
    own_gpus,
    ram,
    sku,
)
from berth.fit.request import FitInputError, FitRequest
from berth.fit.solve import fit
from berth.fit.verdict import Change, Verdict

__all__ = [
    "Change",
    "Device",
    "EngineBudget",
    "FitInputError",
    "FitRequest",
    "Machine",
    "UnknownMachine",
    "Verdict",
    "all_skus",
    "cpu_node",
    "engine_budget",
    "explain",
    "fit",
    "gpu",
    "gpu_by_label",
    "gpus_of_memory",
    "own_gpus",
    "ram",
    "sku",
]
