"""What fit is asked about a Workspace, and the shape that follows from its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import cast

import msgspec

from berth.checkpoint.numbers import ModelNumbers, from_config_json
from berth.fit.engines import EngineName
from berth.fit.explain import explain
from berth.fit.machines import Machine
from berth.fit.placement import PRODUCT, Node, cached_fit
from berth.fit.published import measured_bytes
from berth.fit.request import FitInputError, FitRequest
from berth.fit.terms import DISK, HOST, SHM
from berth.fit.verdict import Verdict
from berth.workspace.shape import Shape
from berth.workspace.spec import Spec
from berth.workspace.types import Fit

_CPU_SEQUENCES = 8  # that a pod on a CPU node gets memory for, if the node has it


def question(
    spec: Spec, machine: Machine, nodes: int = 1, layout: tuple[int, int] | None = None
) -> FitRequest:
    """What fit is asked. Raises FitInputError.

    Args:
        layout: tensor and pipeline degree, if they are given already.
    """
    preset = spec.preset
    assert preset is not None, "a template is not measured"
    numbers = _numbers(msgspec.json.encode(preset.config))
    tensor, pipeline = layout or (spec.options.degree, None)
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
        memory_fraction=spec.options.memory_fraction,
        stored_bytes=measured_bytes(numbers, preset.weight_files_gib),
    )


@lru_cache(maxsize=256)
def _numbers(config: bytes) -> ModelNumbers:
    """Of a preset's config: asked of every node, and made of a hundred layers each time."""
    return from_config_json(msgspec.json.decode(config))


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
        nodes: that can take it; none if they are not there yet.
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
    """What all of them call their GPUs; none if one does not say."""
    found = {node.labels.get(PRODUCT, "") for node in nodes}
    return () if "" in found else tuple(sorted(found))


def cpu_shape(spec: Spec, verdict: Verdict, free: int, dtype: str = "") -> Shape:
    """Memory for some sequences at a time, if the node has it."""
    several = cached_fit(replace(verdict.request, concurrency=_CPU_SEQUENCES))
    need = verdict.need
    if several.outcome == "fits":
        need = several.need
    elif verdict.outcome != "fits":
        need = verdict.usable
    ranks = verdict.layout.ranks if verdict.layout else 1
    # The whole of a pod is its server's: the other way round than fit's "usable".
    pod = int(need * ranks / verdict.request.fraction) + ranks
    return Shape(
        device="cpu",
        engine=spec.engine,
        dtype=dtype,
        memory=min(pod, max(free, 1)),
        fraction=spec.options.memory_fraction or 0.0,
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
