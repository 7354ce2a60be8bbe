"""What one tensor takes in each number format: elements, scales, zero points. Exact.

`SCHEMES` are what `--quantize` names; `scheme_of_checkpoint` finds the one of a config.json.
A scheme says which classes of tensors it packs; the rest stay in the model's own dtype. Which
engine loads it, engines/ says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from berth.fit.units import ceil_bytes, ceil_div

# (matrices, rows, columns) of a tensor to its bytes; columns are what a dot product runs along.
Packer = Callable[[int, int, int], int]


@dataclass(frozen=True, slots=True)
class Scheme:
    """One quantisation scheme."""

    name: str
    packs: frozenset[str]  # classes of tensors (presets.layers.DtypeClass)
    packer: Packer
    bits: str  # per element of a packed tensor, scales included, for people
    exact: bool = True  # False: the format mixes widths by rules that we only approximate
    head: Packer | None = None  # of the output head, if it differs


def tensor_bytes(
    shape: tuple[int, ...], dtype_class: str, dtype: Fraction, scheme: Scheme | None
) -> int:
    """Bytes of one tensor (or of a rank's part of it).

    Args:
        shape: vectors [n], matrices [out, in], experts [n, out, in].
        dtype: bytes of one element if the scheme does not pack it.
    """
    if scheme is None or dtype_class not in scheme.packs or len(shape) < 2:
        return ceil_bytes(math.prod(shape), dtype)
    *lead, rows, columns = shape
    packer = scheme.head if dtype_class == "head" and scheme.head else scheme.packer
    return packer(math.prod(lead), rows, columns)


def _grouped(bits: int, group: int, scale: int, zero_bits: int, index: bool) -> Packer:
    """GPTQ and AWQ: per group of `group` inputs a scale and maybe a zero point for each output."""

    def pack(matrices: int, rows: int, columns: int) -> int:
        groups = ceil_div(columns, group)
        # Packed into int32 words along one dimension.
        words = ceil_div(rows * columns * bits, 32) * 4
        zeros = ceil_div(groups * rows * zero_bits, 32) * 4
        return matrices * (words + groups * rows * scale + zeros + (columns * 4 if index else 0))

    return pack


def _fp8_blocks(matrices: int, rows: int, columns: int) -> int:
    """One byte an element and a float32 scale for each block of 128 x 128 (DeepSeek, Qwen)."""
    return matrices * (rows * columns + ceil_div(rows, 128) * ceil_div(columns, 128) * 4)


def _int8_rows(matrices: int, rows: int, columns: int) -> int:
    """LLM.int8() of bitsandbytes: a byte an element, a float32 maximum for each row."""
    return matrices * (rows * columns + rows * 4)


def _nf4(matrices: int, rows: int, columns: int) -> int:
    """NF4 of bitsandbytes: half a byte, a float32 maximum per 64 elements, a table of 16."""
    elements = rows * columns
    return matrices * (ceil_div(elements, 2) + ceil_div(elements, 64) * 4 + 16 * 4)


def _micro(scale_per: int) -> Packer:
    """MXFP4 (a byte per 32) and NVFP4 (a byte per 16, and two float32 for the tensor)."""

    def pack(matrices: int, rows: int, columns: int) -> int:
        elements = rows * columns
        extra = 8 if scale_per == 16 else 0
        return matrices * (ceil_div(elements, 2) + ceil_div(elements, scale_per) + extra)

    return pack


def _gguf(block: int, size: int) -> Packer:
    """llama.cpp's block formats: `size` bytes for `block` elements, rows padded to whole blocks."""

    def pack(matrices: int, rows: int, columns: int) -> int:
        return matrices * rows * ceil_div(columns, block) * size

    return pack


def _q4_k_m(matrices: int, rows: int, columns: int) -> int:
    """Mostly Q4_K (144 bytes per 256), and Q6_K (210) for half of `v` and `down`: 10 % of it."""
    blocks = rows * ceil_div(columns, 256)
    return matrices * ceil_div(blocks * (9 * 144 + 210), 10)


_LINEAR = frozenset({"matrix", "expert"})
_ALL = frozenset({"matrix", "expert", "embedding", "head"})

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("fp8", _LINEAR, _fp8_blocks, "8.0"),
        Scheme("int8", _LINEAR, _int8_rows, "8.0"),
        Scheme("nf4", _LINEAR, _nf4, "4.5"),
        Scheme("awq", _LINEAR, _grouped(4, 128, 2, 4, index=False), "4.2"),
        Scheme("gptq", _LINEAR, _grouped(4, 128, 2, 4, index=True), "4.2"),
        Scheme("mxfp4", frozenset({"expert"}), _micro(32), "4.3"),
        Scheme("nvfp4", _LINEAR, _micro(16), "4.5"),
        Scheme("q8_0", _ALL, _gguf(32, 34), "8.5"),
        Scheme("q4_k_m", _ALL, _q4_k_m, "4.7", exact=False, head=_gguf(256, 210)),
        Scheme("q4_0", _ALL, _gguf(32, 18), "4.5", head=_gguf(256, 210)),
    )
}


def _int4_32(matrices: int, rows: int, columns: int) -> int:
    """compressed-tensors' pack-quantized in groups of 32: int32 words, a bfloat16 scale for each
    group, the shape as two int64."""
    return matrices * (rows * ceil_div(columns, 8) * 4 + rows * ceil_div(columns, 32) * 2 + 16)


# Of a checkpoint, never made by an engine: Kimi K2's, which packs the routed experts alone.
_PACKED_EXPERTS = Scheme("int4", frozenset({"expert"}), _int4_32, "4.5")

# compressed-tensors' 8 bits with a scale a channel, which the native engine keeps in float32.
_INT8_CHANNEL = Scheme("int8-channel", _LINEAR, _int8_rows, "8.0")
_INT8_CHANNEL_HEAD = Scheme("int8-channel", _LINEAR | {"head"}, _int8_rows, "8.0")
_OURS = {"int8-channel": _INT8_CHANNEL, "int8-channel-head": _INT8_CHANNEL_HEAD}

# quant_method (or format) of a config.json.
_CHECKPOINTS = {
    "fp8": "fp8",
    "float-quantized": "fp8",
    "awq": "awq",
    "gptq": "gptq",
    "mxfp4": "mxfp4",
    "nvfp4-pack-quantized": "nvfp4",
}


def scheme_of_checkpoint(method: str | None) -> Scheme | None:
    """The scheme of a checkpoint's quant_method; None if it has none or we cannot tell."""
    if method == "pack-quantized":
        return _PACKED_EXPERTS
    if method in _OURS:
        return _OURS[method]
    return SCHEMES.get(_CHECKPOINTS.get((method or "").lower(), ""))
