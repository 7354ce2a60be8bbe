"""The formats in which the weight of a linear layer may be stored: one file a format."""

from berth.models.formats.base import Packed, Reader, Rows, WeightFormat
from berth.models.formats.int8 import Int8, Int8Weight, Int8Words
from berth.models.formats.plain import Plain, PlainWeight

__all__ = [
    "Int8Weight",
    "Packed",
    "PlainWeight",
    "Reader",
    "Rows",
    "WeightFormat",
    "format_named",
]

_ALL: tuple[WeightFormat, ...] = (Plain(), Int8(), Int8Words())
_FORMATS = {each.stored.name: each for each in _ALL}


def format_named(name: str) -> WeightFormat:
    """The format of a name of `checkpoint.weight_format.FORMATS`."""
    return _FORMATS[name]
