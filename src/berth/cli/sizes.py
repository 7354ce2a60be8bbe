"""Sizes of memory as options take them."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Bytes(click.ParamType):  # type: ignore[type-arg]  # not generic when it runs
    """A number of bytes: 8589934592, 8G, 8GiB, 512M."""

    name = "bytes"
    _bare = 1  # what a number without a unit counts
    _complaint = "is no number of bytes; write 8G or 512M, for example"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} {self._complaint}", param, ctx)
        unit = _UNITS[match[2].upper()] if match[2] else self._bare
        return int(float(match[1]) * unit)


class Size(Bytes):
    """Memory of a machine, above 0: 24 (GiB), 0.5, 24564M, 80G."""

    name = "size"
    _bare = _UNITS["G"]
    _complaint = "is no size; write 24 (GiB) or 512M, for example"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        size = super().convert(value, param, ctx)
        if size is not None and size < _UNITS["M"]:
            self.fail("should be a size above 0, at least 1M", param, ctx)
        return size
