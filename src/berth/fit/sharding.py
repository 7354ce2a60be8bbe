"""Which ranks hold which part of a model: layouts, whether they are possible, bytes of weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from berth.checkpoint.numbers import Layer, ModelNumbers, Tensor, tensors
from berth.fit.engines import EngineName, arithmetic
from berth.fit.quantization import Scheme, tensor_bytes
from berth.fit.request import FitRequest
from berth.fit.units import ELEMENT_BYTES, ceil_div

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


@dataclass(frozen=True, slots=True, eq=False)  # equal only to itself: a cheap key
class Outline:
    """A model's tensors, counted by kind."""

    first: tuple[tuple[Kind, int], ...]  # of no layer, before the layers
    last: tuple[tuple[Kind, int], ...]
    parts: frozenset[tuple[str, int]]  # what is split, and into how many pieces it can be
    unique: tuple[Layer, ...]  # the layers that differ
    tensors: tuple[tuple[tuple[Kind, int], ...], ...]  # of each of those
    which: tuple[int, ...]  # of each layer, its place in `unique`


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
    places: dict[Layer, int] = {}
    which = tuple(places.setdefault(layer, len(places)) for layer in numbers.layers)
    groups = tuple(layers[which.index(place)] for place in range(len(places)))
    return Outline(
        tuple(first.items()),
        tuple(last.items()),
        frozenset(
            (kind.part, kind.units)
            for group in (first, last, *groups)
            for kind in group
            if kind.shard is not None
        ),
        tuple(places),
        tuple(tuple(group.items()) for group in groups),
        which,
    )


def _kind(tensor: Tensor) -> Kind:
    return Kind(tensor.shape, tensor.shard, tensor.units, tensor.dtype, tensor.is_kv, _part(tensor))


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


def conflicts(plan: Outline, layout: Layout, engine: EngineName) -> list[str]:
    """Why this layout is impossible, in words; empty if it is possible."""
    found = [
        f"{units} {part} are not divisible by tensor-parallel degree {layout.tensor}"
        for part, units in sorted(plan.parts)
        if not _divides(part, units, layout.tensor, engine)
    ]
    if layout.pipeline > len(plan.which):
        found.append(f"{layout.pipeline} pipeline stages are more than {len(plan.which)} layers")
    return found


def _divides(part: str, units: int, degree: int, engine: EngineName) -> bool:
    if units % degree == 0:
        return True
    if part == "vocabulary":
        return arithmetic(engine).padded_vocabulary(units) % degree == 0
    # Every rank needs a kv head; if there are fewer, several ranks keep a copy of the same.
    return part == "kv heads" and degree % units == 0


def feasible_degrees(plan: Outline, engine: EngineName, up_to: int) -> list[int]:
    """The tensor-parallel degrees from 1 to `up_to` that are possible."""
    return [d for d in range(1, up_to + 1) if not conflicts(plan, Layout(d), engine)]


def part_of(kind: Kind, degree: int, engine: EngineName) -> tuple[int, ...]:
    """Shape of one rank's part of a tensor."""
    if kind.shard is None or (degree == 1 and kind.part != "vocabulary"):
        return kind.shape
    size = kind.shape[kind.shard]
    if kind.part == "vocabulary":
        size = arithmetic(engine).padded_vocabulary(size)
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
    layers: tuple[tuple[Layer, int], ...]  # each kind and how many of it
    weight_bytes: int  # of one rank
    largest: int  # bytes of the rank's largest tensor, which a loader holds twice


def stages(request: FitRequest, plan: Outline, layout: Layout) -> list[Stage]:
    """The stages of a possible layout, with what their weights take on each rank.

    If the checkpoint's own sizes were read, what our tensors do not explain (such as a vision tower
    of which config.json has no number) is on every rank of the first stage, and a
    packing that we do not know shrinks all tensors alike.
    """
    known = _checkpoint(request, plan)
    sizes = _sizes(plan, layout.tensor, request.engine, request.element, request.scheme)
    ranges = stage_layers(len(plan.which), layout.pipeline)
    result = []
    for index, layers in enumerate(ranges):
        counts = Counter(plan.which[i] for i in layers)
        parts = [sizes.layers[place] for place in counts for _ in range(counts[place])]
        last = index == len(ranges) - 1
        if index == 0:
            parts.append(sizes.first)
        if last:
            parts.append(sizes.last)
            if request.model.tied and layout.pipeline > 1:
                parts.append(sizes.embedding)  # the head's stage has a copy
        total = known.scaled(sum(part.bytes for part in parts))
        if index == 0:
            total += known.surplus
        kinds = tuple((plan.unique[place], count) for place, count in counts.items())
        largest = max(part.largest for part in parts)
        result.append(Stage(index, last, kinds, total, largest))
    return result


@dataclass(frozen=True, slots=True)
class _Size:
    """Bytes of a group of tensors on one rank, and of the largest of them."""

    bytes: int
    largest: int


@dataclass(frozen=True, slots=True)
class _Sizes:
    first: _Size
    last: _Size
    embedding: _Size
    layers: tuple[_Size, ...]  # of each of Outline.unique


@lru_cache(maxsize=4096)
def _sizes(
    plan: Outline, degree: int, engine: EngineName, element: Fraction, scheme: Scheme | None
) -> _Sizes:
    def size(group: tuple[tuple[Kind, int], ...]) -> _Size:
        each = [
            (tensor_bytes(part_of(kind, degree, engine), kind.dtype, element, scheme), count)
            for kind, count in group
        ]
        return _Size(sum(b * n for b, n in each), max((b for b, _ in each), default=0))

    return _Sizes(
        size(plan.first),
        size(plan.last),
        size(_embedding(plan)),
        tuple(size(group) for group in plan.tensors),
    )


def _embedding(plan: Outline) -> tuple[tuple[Kind, int], ...]:
    return tuple(
        (kind, count) for kind, count in plan.first if kind.part == "vocabulary" and kind.shard == 0
    )


def _own_bytes(request: FitRequest, plan: Outline) -> int:
    """Bytes of all our tensors on one device, tied ones once."""
    sizes = _sizes(plan, 1, request.engine, request.element, request.scheme)
    layers = sum(sizes.layers[place].bytes for place in plan.which)
    return sizes.first.bytes + sizes.last.bytes + layers


def model_bytes(request: FitRequest, plan: Outline) -> int:
    """Bytes of all tensors on one device, tied ones once, as the checkpoint has them."""
    known = _checkpoint(request, plan)
    return known.scaled(_own_bytes(request, plan)) + known.surplus


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """What a checkpoint's own sizes say beside our tensors."""

    surplus: int = 0  # bytes that none of our tensors explains
    scale: Fraction = Fraction(1)  # of ours, if they are packed in a way that we do not know

    def scaled(self, size: int) -> int:
        return ceil_div(size * self.scale.numerator, self.scale.denominator)


def _checkpoint(request: FitRequest, plan: Outline) -> _Checkpoint:
    if request.stored_bytes is None or request.quantize is not None:
        return _Checkpoint()
    if request.scheme is not None and arithmetic(request.engine).repacks:
        return _Checkpoint()
    own = _own_bytes(request, plan)
    stored = request.stored_bytes
    if not request.model.quantization:
        stored = int(stored * request.element / ELEMENT_BYTES[request.stored_dtype])
    if stored >= own:
        return _Checkpoint(surplus=stored - own)
    return _Checkpoint(scale=Fraction(stored, own))


def sizes_agree(request: FitRequest, plan: Outline) -> bool:
    """Whether our tensors are the checkpoint's to the byte, as far as it was read."""
    return _checkpoint(request, plan) == _Checkpoint()
