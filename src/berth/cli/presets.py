"""berth presets: the catalogue."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from berth.presets.catalogue import Preset, PresetError, find_preset, load_presets


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def presets(name: str | None, as_json: bool) -> None:
    """List the catalogue of models, or show the one called NAME."""
    try:
        found = [find_preset(name)] if name else list(load_presets().values())
    except PresetError as error:
        raise click.UsageError(str(error)) from error
    rows = [_row(preset) for preset in found]
    if as_json:
        click.echo(json.dumps(rows[0] if name else rows, indent=2))
        return
    table = Table("name", "family", "architecture", "context", "licence", "weights")
    for preset, row in zip(found, rows, strict=True):
        table.add_row(
            *(str(row[key]) for key in ("name", "family", "architecture", "context", "licence")),
            "included" if preset.weights else "elsewhere",
        )
    Console(file=sys.stdout).print(table)


def _row(preset: Preset) -> dict[str, object]:
    row = asdict(preset)
    return row | {"weights": str(preset.weights) if preset.weights else None}
