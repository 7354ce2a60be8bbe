"""Kubernetes quantities: "16Gi", "500m", "1e3"."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
_SHAPE = re.compile(r"([+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,2})?)([A-Za-z]{0,2})")


def parse_quantity(text: str, parts: int = 1) -> int:
    """Whole units (or `parts` of one: 1000 for thousandths), rounded up as Kubernetes does.

    Raises ValueError, which names the text.
    """
    match = _SHAPE.fullmatch(text.strip())
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError(f"{text!r} is no Kubernetes quantity")
    return int((Decimal(match[1]) * _SUFFIXES[match[2]] * parts).to_integral_value(ROUND_CEILING))


def quantity(value: object) -> int | None:
    """The same of what an API object has there; None for what is no quantity, or below 0."""
    return _lenient(value, 1)


def milli_quantity(value: object) -> int | None:
    """In thousandths, as CPUs are counted: "500m" is 500, "2" is 2000. None as `quantity`."""
    return _lenient(value, 1000)


def _lenient(value: object, parts: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        found = parse_quantity(str(value)[:40], parts)
    except ValueError:
        return None
    return found if found >= 0 else None
