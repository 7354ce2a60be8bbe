"""The sentences that head a refusal: the seed's three forms, and devices that no engine runs on."""

from __future__ import annotations

from berth.fit.engines import arithmetic
from berth.fit.options import Option
from berth.fit.request import FitRequest
from berth.fit.terms import Need
from berth.fit.units import unlike


def unsupported(request: FitRequest) -> list[str]:
    """Why the engine cannot run on this device at all, whatever memory it has."""
    device = request.machine.device
    engine = arithmetic(request.engine)
    capability, least = device.compute_capability, engine.least_capability
    if capability is None:
        return []
    if capability < least:
        return [
            f"{request.engine} needs compute capability {least[0]}.{least[1]}, and "
            f"{device.product} has {capability[0]}.{capability[1]}"
        ]
    from_on = engine.bfloat16_capability
    if from_on is not None and capability < from_on and request.resolved_dtype == "bfloat16":
        return [
            f"{request.engine} computes bfloat16 from compute capability {from_on[0]}.{from_on[1]} "
            f"on, and {device.product} has {capability[0]}.{capability[1]}; dtype float16 takes "
            "the same memory"
        ]
    return []


def headlines(
    request: FitRequest, chosen: Option | None, needs: tuple[Need, ...], count: int | None
) -> list[str]:
    """The seed's messages, those that apply, in its order.

    Numbers are GPUs, or bytes with their unit: what the engine may take of the memory, and what it
    needs, the same two that the terms below them have.

    Args:
        chosen: the layout that came nearest; None if none is possible.
        count: how many of these GPUs would suffice, if more of them would.
    """
    machine, model = request.machine, request.name
    provided = machine.count * request.nodes
    if machine.device.kind == "cpu":
        return _cpu_headlines(request, chosen, needs)
    found: list[str] = []
    if count is not None and count > provided:
        found.append(
            f"Insufficient number of GPUs: Instance type {machine.name} provides {provided}, but "
            f"preset {model} requires at least {count}"
        )
    if chosen is None:
        return found
    worst = max(need.bytes for need in needs)
    if worst > chosen.usable:
        needed, usable = unlike(worst, chosen.usable)
        found.append(
            f"Insufficient GPU memory: Instance type {machine.name} provides {usable} per GPU, but "
            f"preset {model} requires at least {needed} per GPU"
        )
    together = sum(need.bytes for need in needs) * chosen.layout.tensor
    if provided > 1 and together > provided * chosen.usable:
        needed, usable = unlike(together, provided * chosen.usable)
        found.append(
            f"Insufficient total GPU memory: Instance type {machine.name} has a total of {usable}, "
            f"but preset {model} requires at least {needed}"
        )
    return found


def _cpu_headlines(
    request: FitRequest, chosen: Option | None, needs: tuple[Need, ...]
) -> list[str]:
    if chosen is None:
        return []
    need = sum(need.bytes for need in needs) * chosen.layout.tensor
    usable = chosen.usable * chosen.layout.ranks
    if need <= usable:
        return []
    needed, provided = unlike(need, usable)
    return [
        f"Insufficient memory: Instance type {request.machine.name} provides {provided}, but "
        f"preset {request.name} requires at least {needed}"
    ]
