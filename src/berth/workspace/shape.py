"""The shape that was chosen for a Workspace: how many pods, with what each, on which nodes.

It is written on the StatefulSet, with a key for what it was chosen by, and stays as long as that
does: another node that comes or goes must not restart a model that runs.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from berth.workspace.types import Fit

# Thousandths of a CPU that a pod requests: a share, for it may take all that is idle.
CPU_POD_MILLI_CPUS, GPU_POD_MILLI_CPUS = 500, 1000


class Shape(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sizes in bytes, of one pod unless anything else is set."""

    # replicas: each pod is the whole model. group: all pods together are one.
    kind: Literal["replicas", "group"] = "replicas"
    device: Literal["gpu", "cpu"] = "gpu"
    engine: str = ""  # "": the pod is of a template
    gpus: int = 0
    dtype: str = ""  # that the engine has to keep to; "": its own choice
    ranks: int = 1  # of one model, over all its pods
    memory: int = 0  # RAM
    milli_cpus: int = 0  # that a pod of a template requests
    fraction: float = 0.0  # of the device's memory, that the engine may take; 0: its default
    shm: int = 0
    disk: int = 0  # of the weights
    # Labels that the nodes must have besides the selector's.
    products: tuple[str, ...] = ()  # nvidia.com/gpu.product
    instance_types: tuple[str, ...] = ()  # as the nodes write them
    fit: Fit | None = None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What is written on the StatefulSet."""

    key: str
    shape: Shape


def encode(placed: Placed) -> str:
    """As an annotation."""
    return msgspec.json.encode(placed, order="sorted").decode()


def decode(annotation: str) -> Placed | None:
    """None if it is none of ours."""
    try:
        return msgspec.json.decode(annotation, type=Placed)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None


def fit_status(shape: Shape) -> dict[str, Any] | None:
    """status.fit."""
    return None if shape.fit is None else msgspec.to_builtins(shape.fit)
