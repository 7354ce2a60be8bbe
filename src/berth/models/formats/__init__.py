"""The formats in which the weight of a linear layer may be stored: one file a format."""

from berth.models.formats.base import Packed, Reader, Rows, WeightFormat
from berth.models.formats.plain import Plain, PlainWeight

__all__ = ["Packed", "PlainWeight", "Reader", "Rows", "WeightFormat", "format_named"]

_FORMATS: dict[str, WeightFormat] = {each.stored.name: each for each in (Plain(),)}


def format_named(name: str) -> WeightFormat:
    """The format of a name of `checkpoint.weight_format.FORMATS`."""
    return _FORMATS[name]
