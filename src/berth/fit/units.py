"""Bytes, and how they are written for people."""

from __future__ import annotations

from fractions import Fraction

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
_UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
_MOST_DIGITS = 7  # after the point

# Bytes of one element. q8_0 is llama.cpp's: blocks of 32 with a scale of two bytes.
ELEMENT_BYTES: dict[str, Fraction] = {
    "float32": Fraction(4),
    "bfloat16": Fraction(2),
    "float16": Fraction(2),
    "fp8": Fraction(1),
    "int8": Fraction(1),
    "q8_0": Fraction(34, 32),
}


def human(count: int) -> str:
    """`count` bytes with three significant figures and a binary unit: "14.9 GiB"."""
    size = float(abs(count))
    sign = "-" if count < 0 else ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000 or unit == "GiB":
            break
        size /= 1024
    if unit == "B":
        return f"{sign}{int(size)} B"
    digits = 2 if size < 10 else 1 if size < 100 else 0
    return f"{sign}{size:,.{digits}f} {unit}"


def unlike(one: int, other: int) -> tuple[str, str]:
    """Both as `human` writes them, with as many more digits as it takes to tell them apart: of two
    that are compared, "15.0 GiB" and "15.0 GiB" would say nothing."""
    shown = human(one), human(other)
    if one == other or shown[0] != shown[1]:
        return shown
    unit = shown[0].rpartition(" ")[2]
    for digits in range(1, _MOST_DIGITS):
        first, second = (f"{size / _UNITS[unit]:,.{digits}f} {unit}" for size in (one, other))
        if first != second:
            return first, second
    return f"{one:,} B", f"{other:,} B"


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def ceil_bytes(elements: int, each: Fraction) -> int:
    """Whole bytes that `elements` of `each` bytes take."""
    return ceil_div(elements * each.numerator, each.denominator)
