"""Tables as kubectl prints them: aligned words, no frame, the first column never cut.

The same lines go to a terminal and into a pipe, so that `berth presets | grep llama` finds what a
person saw.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Sequence

import click

_GAP = "  "


def columns(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[str] = (),
    width: int | None = None,
) -> list[str]:
    """A line for the titles and one for each row.

    Args:
        right: titles of the columns that are aligned to the right.
        width: columns of the terminal; a longer line is cut at its end. None: no line is cut.
    """
    table = [[title.upper() for title in titles], *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(titles))]
    lines = []
    for row in table:
        cells = [
            cell.rjust(wide) if title in right else cell.ljust(wide)
            for cell, wide, title in zip(row, widths, titles, strict=True)
        ]
        line = _GAP.join(cells).rstrip()
        if width is not None and len(line) > width > len(row[0]):
            kept = line[: width - 1].rstrip()
            # Never at the name itself, which would then look as if it were cut.
            line = f"{kept}…" if len(kept) > len(row[0]) else f"{row[0]} …"[:width].rstrip()
        lines.append(line)
    return lines


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None of a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_columns(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """Print a table to standard output."""
    for line in columns(titles, rows, right=right, width=terminal_width()):
        click.echo(line)
