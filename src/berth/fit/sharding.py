"""Which ranks hold which part of a model: layouts, whether they are possible, bytes of weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from berth.fit.quantization import tensor_bytes
from berth.fit.request import FitRequest
from berth.fit.units import ceil_div
from berth.presets.numbers import Layer, ModelNumbers, Tensor, tensors

# vLLM pads the vocabulary to a multiple of this before it is divided.
_VLLM_VOCABULARY = 64
# Tensors without a layer that the last stage of a pipeline holds; the first has the rest.
_LAST_STAGE = frozenset({"norm", "norm_bias", "head", "head_bias", "pooler", "pooler_bias"})


@dataclass(frozen=True, slots=True)
class Layout:
    """How ranks are arranged: `tensor` of them share each layer, `pipeline` stages follow."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def ranks(self) -> int:
        return self.tensor * self.pipeline

    def __str__(self) -> str:
        if self.pipeline == 1:
            return f"tensor-parallel {self.tensor}"
        if self.tensor == 1:
            return f"pipeline {self.pipeline}"
        return f"tensor-parallel {self.tensor} x pipeline {self.pipeline}"


@dataclass(frozen=True, slots=True)
class Kind:
    """Tensors that are alike in everything that sizes depend on."""

    shape: tuple[int, ...]
    shard: int | None
    units: int
    dtype: str
    is_kv: bool
    part: str  # what a message calls the units: "heads", "kv heads" …


@dataclass(frozen=True, slots=True)
class Outline:
    """A model's tensors, counted by kind."""

    first: tuple[tuple[Kind, int], ...]  # of no layer, before the layers
    last: tuple[tuple[Kind, int], ...]
    layers: tuple[tuple[tuple[Kind, int], ...], ...]  # of each layer; equal ones are one object
    kinds: frozenset[Kind]

    def all(self) -> Counter[Kind]:
        total: Counter[Kind] = Counter()
        for group in (self.first, self.last, *self.layers):
            total.update(dict(group))
        return total


@lru_cache(maxsize=256)
def outline(numbers: ModelNumbers) -> Outline:
    """See Outline."""
    first: Counter[Kind] = Counter()
    last: Counter[Kind] = Counter()
    layers: list[Counter[Kind]] = [Counter() for _ in numbers.layers]
    for tensor in tensors(numbers):
        kind = _kind(tensor)
        if tensor.layer is not None:
            layers[tensor.layer][kind] += 1
        elif tensor.name in _LAST_STAGE:
            last[kind] += 1
        else:
            first[kind] += 1
    frozen = [tuple(group.items()) for group in layers]
    kinds = {kind for group in (first, last, *layers) for kind in group}
    return Outline(
        tuple(first.items()),
        tuple(last.items()),
        tuple({group: group for group in frozen}[group] for group in frozen),
        frozenset(kinds),
    )


def _kind(tensor: Tensor) -> Kind:
    return Kind(
        tensor.shape, tensor.shard, tensor.units, tensor.dtype, tensor.is_kv, _part(tensor)
    )


def _part(tensor: Tensor) -> str:
    name = tensor.name
    if tensor.dtype in ("embedding", "head") or name == "head_bias":
        return "vocabulary"
    if tensor.is_kv or name.endswith(".k_norm"):
        return "kv heads"
    if ".attention." in name:
        return "heads"
    if ".linear." in name:
        return "linear-attention heads"
    if ".state." in name:
        return "state-space groups or heads"
    if ".experts." in name:
        return "expert intermediate size"
    return "intermediate size"


def conflicts(numbers: ModelNumbers, layout: Layout, engine: str) -> list[str]:
    """Why this layout is impossible, in words; empty where it is possible."""
    found = [
        f"{units} {part} are not divisible by tensor-parallel degree {layout.tensor}"
        for part, units in sorted(
            {(kind.part, kind.units) for kind in outline(numbers).kinds if kind.shard is not None}
        )
        if not _divides(part, units, layout.tensor, engine)
    ]
    if layout.pipeline > len(numbers.layers):
        found.append(f"{layout.pipeline} pipeline stages are more than {len(numbers.layers)} layers")
    return found


def _divides(part: str, units: int, degree: int, engine: str) -> bool:
    if units % degree == 0:
        return True
    if engine == "native":
        return False
    if part == "vocabulary":
        return padded_vocabulary(units, engine) % degree == 0
    # Every rank needs a kv head; where there are fewer, several ranks keep a copy of the same.
    return part == "kv heads" and degree % units == 0


def padded_vocabulary(vocabulary: int, engine: str) -> int:
    """Rows of the embedding as the engine keeps it."""
    if engine != "vllm":
        return vocabulary
    return ceil_div(vocabulary, _VLLM_VOCABULARY) * _VLLM_VOCABULARY


def feasible_degrees(numbers: ModelNumbers, engine: str, up_to: int) -> list[int]:
    """The tensor-parallel degrees from 1 to `up_to` that are possible."""
    return [d for d in range(1, up_to + 1) if not conflicts(numbers, Layout(d), engine)]


def part_of(kind: Kind, degree: int, engine: str) -> tuple[int, ...]:
    """Shape of one rank's part of a tensor."""
    if kind.shard is None or degree == 1 and kind.part != "vocabulary":
        return kind.shape
    size = kind.shape[kind.shard]
    if kind.part == "vocabulary":
        size = padded_vocabulary(size, engine)
    elif kind.is_kv and degree > kind.units:
        degree = kind.units
    share = ceil_div(size, degree)
    return (*kind.shape[: kind.shard], share, *kind.shape[kind.shard + 1 :])


def stage_layers(count: int, pipeline: int) -> list[range]:
    """Layers of each pipeline stage: as even as they come, the middle ones taking the rest.

    The first and the last stage hold the embedding and the head besides, so they get no more
    layers than the others (vLLM's rule).
    """
    base, rest = divmod(count, pipeline)
    sizes = [base] * pipeline
    for i in range(rest):
        # From the last but one backwards: the last stage has the head, the first the embedding.
        sizes[(pipeline - 2 - i) % pipeline] += 1
    starts = [sum(sizes[:i]) for i in range(pipeline)]
    return [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]


@dataclass(frozen=True, slots=True)
class Stage:
    """One pipeline stage: all its tensor-parallel ranks are alike."""

    index: int
    last: bool  # computes logits
    layers: tuple[Layer, ...]
    weight_bytes: int  # of one rank
    largest: int  # bytes of the rank's largest tensor, which a loader holds twice


def stages(request: FitRequest, layout: Layout) -> list[Stage]:
    """The stages of a possible layout, with what their weights take on each rank.

    Where the checkpoint's own sizes were read, what our tensors do not explain (a vision tower,
    say, that no number of config.json tells of) is on every rank of the first stage.
    """
    plan = outline(request.model)
    surplus = _surplus(request, plan)
    ranges = stage_layers(len(request.model.layers), layout.pipeline)
    result = []
    for index, layers in enumerate(ranges):
        groups = [plan.layers[i] for i in layers]
        last = index == len(ranges) - 1
        if index == 0:
            groups.append(plan.first)
        if last:
            groups.append(plan.last)
            if request.model.tied and layout.pipeline > 1:
                groups.append(_embedding(plan))  # the head's stage has a copy
        total, largest = _group_bytes(request, groups, layout.tensor)
        if index == 0:
            total += surplus
        result.append(
            Stage(index, last, tuple(request.model.layers[i] for i in layers), total, largest)
        )
    return result


def _embedding(plan: Outline) -> tuple[tuple[Kind, int], ...]:
    return tuple(
        (kind, count) for kind, count in plan.first if kind.part == "vocabulary" and kind.shard == 0
    )


def _group_bytes(
    request: FitRequest, groups: list[tuple[tuple[Kind, int], ...]], degree: int
) -> tuple[int, int]:
    seen: dict[Kind, int] = {}
    total = largest = 0
    for group in groups:
        for kind, count in group:
            if kind not in seen:
                shape = part_of(kind, degree, request.engine)
                seen[kind] = tensor_bytes(shape, kind.dtype, request.element, request.scheme)
            total += seen[kind] * count
            largest = max(largest, seen[kind])
    return total, largest


def model_bytes(request: FitRequest) -> int:
    """Bytes of all tensors on one device, tied ones once."""
    plan = outline(request.model)
    total, _ = _group_bytes(request, [plan.first, plan.last, *plan.layers], 1)
    return total + _surplus(request, plan)


def _surplus(request: FitRequest, plan: Outline) -> int:
    """What a checkpoint's headers say beyond our tensors, where they were read and used as is."""
    if request.stored_bytes is None or request.quantize is not None:
        return 0
    own, _ = _group_bytes(request, [plan.first, plan.last, *plan.layers], 1)
    return max(0, request.stored_bytes - own)
