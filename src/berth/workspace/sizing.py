"""What fit is asked about a Workspace, and the shape that follows from its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import cast

import msgspec

from berth.fit.explain import explain
from berth.fit.machines import Machine
from berth.fit.native import HOST_RESERVE
from berth.fit.placement import PRODUCT, Node, cached_fit
from berth.fit.request import EngineName, FitInputError, FitRequest
from berth.fit.terms import DISK, HOST, SHM
from berth.fit.units import GIB, MIB
from berth.fit.verdict import Verdict
from berth.presets.numbers import ModelNumbers, from_config_json
from berth.workspace.shape import Shape
from berth.workspace.spec import Spec
from berth.workspace.types import Fit

_CPU_SEQUENCES = 8  # that a pod on a CPU node gets memory for, where the node has it
# Of a CPU pod's memory: the share that the engine may take, what it keeps free in any case
# (berth.fit.native.HOST_RESERVE), and what the server's own process takes.
_CPU_FRACTION, _SERVER = 0.90, 256 * MIB


def question(
    spec: Spec, machine: Machine, nodes: int = 1, layout: tuple[int, int] | None = None
) -> FitRequest:
    """What fit is asked. Raises FitInputError.

    Args:
        layout: tensor and pipeline degree, where they are given already.
    """
    preset = spec.preset
    assert preset is not None, "a template is not measured"
    numbers = _numbers(msgspec.json.encode(preset.config))
    stored = None
    if preset.weight_files_gib is not None and (numbers.quantization or numbers.missing):
        stored = int(preset.weight_files_gib * GIB)
    tensor, pipeline = layout or (spec.options.degree, None)
    fraction = spec.options.memory_fraction
    if machine.device.kind == "cpu":
        fraction = _engine_share(machine.device.total, fraction or _CPU_FRACTION)
    return FitRequest(
        model=numbers,
        name=preset.name,
        machine=machine,
        nodes=nodes,
        engine=cast(EngineName, spec.engine),
        context=spec.options.context,
        dtype=spec.options.dtype,
        quantize=spec.options.quantize,
        tensor=tensor,
        pipeline=pipeline,
        memory_fraction=fraction,
        stored_bytes=stored,
    )


@lru_cache(maxsize=256)
def _numbers(config: bytes) -> ModelNumbers:
    """Of a preset's config: asked of every node, and made of a hundred layers each time."""
    return from_config_json(msgspec.json.decode(config))


def _engine_share(total: int, fraction: float) -> float:
    """The part of a CPU pod's memory that the engine will find it may take: as it counts itself."""
    room = min(int(total * fraction), total - HOST_RESERVE) - _SERVER
    return max(room / total, 0.001)


def _pod_memory(need: int, fraction: float) -> int:
    """The other way round: the memory of a pod whose engine may take `need` bytes."""
    return max(int((need + _SERVER) / fraction) + 1, need + _SERVER + HOST_RESERVE)


def cpu_dtypes(spec: Spec) -> list[tuple[Spec, str]]:
    """What to ask on RAM, one after the other, each with the dtype that the engine is then told.

    Left to itself the engine computes in float32 on a CPU without bfloat16 instructions, which
    no node tells us of. So there should be room for that; where there is not, it is told to keep
    to the 16 bits that are stored.
    """
    if spec.options.dtype != "auto" or spec.options.quantize is not None:
        return [(spec, "")]
    wide, narrow = (
        replace(spec, options=replace(spec.options, dtype=dtype))
        for dtype in ("float32", "bfloat16")
    )
    return [(wide, ""), (narrow, "bfloat16")]


def group_verdict(spec: Spec, machine: Machine) -> Verdict:
    """The largest degree that fits and that the nodes can share evenly; else what came nearest."""
    nearest: Verdict | None = None
    degrees = [spec.options.degree] if spec.options.degree else _even(machine.count, spec.count)
    for degree in degrees:
        verdict = cached_fit(question(spec, machine, spec.count, (degree, 1)))
        if verdict.accepted and degree % spec.count == 0:
            return verdict
        if nearest is None or (nearest.layout is None and verdict.layout is not None):
            nearest = verdict
    if nearest is None:
        raise FitInputError("the nodes have no GPU that they could share a model with")
    if nearest.accepted:
        raise FitInputError(
            f"degree is {spec.options.degree}; it should be a multiple of {spec.count} nodes"
        )
    return nearest


def _even(gpus: int, nodes: int) -> list[int]:
    return [each * nodes for each in range(gpus, 0, -1)]


def shape_of(spec: Spec, verdict: Verdict, nodes: Sequence[Node], *, group: bool) -> Shape:
    """The shape of an accepted verdict on GPUs.

    Args:
        group: the model spans all the nodes, and the ranks are those of all.
        nodes: that can take it; none where they are not there yet.
    """
    layout = verdict.layout
    assert layout is not None, "an accepted verdict has a layout"
    terms = {term.name: term for term in verdict.node_terms}
    return Shape(
        kind="group" if group else "replicas",
        device="gpu",
        engine=spec.engine,
        gpus=layout.ranks // (spec.count if group else 1),
        ranks=layout.ranks,
        memory=terms[HOST].low if HOST in terms else 0,
        shm=terms[SHM].bytes if SHM in terms else 0,
        disk=terms[DISK].bytes,
        fraction=verdict.request.fraction,
        products=_products(nodes),
        fit=fit_of(verdict),
    )


def _products(nodes: Sequence[Node]) -> tuple[str, ...]:
    """What all of them call their GPUs; none where one does not say."""
    found = {node.labels.get(PRODUCT, "") for node in nodes}
    return () if "" in found else tuple(sorted(found))


def cpu_shape(spec: Spec, verdict: Verdict, free: int, dtype: str = "") -> Shape:
    """Memory for some sequences at a time, where the node has it."""
    fraction = spec.options.memory_fraction or _CPU_FRACTION
    several = cached_fit(replace(verdict.request, concurrency=_CPU_SEQUENCES))
    need = verdict.need
    if several.outcome == "fits":
        need = several.need
    elif verdict.outcome != "fits":
        need = verdict.usable
    return Shape(
        device="cpu",
        engine=spec.engine,
        dtype=dtype,
        memory=min(_pod_memory(need, fraction), max(free, 1)),
        fraction=fraction,
        disk=next(term.bytes for term in verdict.node_terms if term.name == DISK),
        fit=fit_of(verdict),
    )


def fit_of(verdict: Verdict) -> Fit:
    """status.fit."""
    return Fit(
        outcome=verdict.outcome,
        accepted=verdict.accepted,
        machine=verdict.machine.name,
        engine=verdict.request.engine,
        gpus=verdict.gpus_used if verdict.machine.device.kind == "gpu" else 0,
        context=verdict.context,
        concurrency=verdict.concurrency,
        max_context=verdict.max_context,
        max_concurrency=verdict.max_concurrency,
        need_bytes=verdict.need,
        usable_bytes=verdict.usable,
        binding=verdict.binding,
        message=explain(verdict)[len(verdict.headlines)],
    )
