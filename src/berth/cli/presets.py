"""berth presets: the catalogue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from berth.cli.columns import print_columns
from berth.presets.catalogue import Preset, PresetError, find_preset, load_presets

# What the table calls an engine, and the licence question of the hub.
_NONE_YET = "none yet"


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def presets(name: str | None, as_json: bool) -> None:
    """List the catalogue of models, or show NAME: one preset whole, or one family's presets."""
    try:
        found, whole = _find(name)
    except PresetError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        rows = [as_data(preset) for preset in found]
        click.echo(json.dumps(rows[0] if whole else rows, indent=2))
    else:
        _show(found[0]) if whole else _list(found)


def _find(name: str | None) -> tuple[list[Preset], bool]:
    """The presets to show, and whether it is one that was asked for by its name."""
    if name is None:
        return list(load_presets().values()), False
    presets = load_presets()
    family = [preset for preset in presets.values() if preset.family == name]
    if family and name not in presets:
        return family, False
    return [find_preset(name)], True


def as_data(preset: Preset) -> dict[str, Any]:
    """A preset as JSON has it: its keys in preset.yaml, without those that it lacks."""
    data: Mapping[str, Any] = msgspec.to_builtins(preset, enc_hook=str)
    present = {key: value for key, value in data.items() if value is not None}
    return present | {"architecture": preset.architecture}


def _list(found: list[Preset]) -> None:
    rows = [
        (
            preset.name,
            count_words(preset.parameters),
            f"{preset.context:,}",
            _NONE_YET if preset.engine == "none" else preset.engine,
            _weights(preset),
            preset.licence,
            preset.title,
        )
        for preset in found
    ]
    titles = ("name", "size", "context", "engine", "weights", "licence", "model")
    print_columns(titles, rows, right=("size", "context"))


def _weights(preset: Preset) -> str:
    if preset.weights is not None:
        return "included"
    if preset.hub is None:
        return "your own"
    return "gated" if preset.gated is True else "free" if preset.gated is False else "may be gated"


def _show(preset: Preset) -> None:
    click.echo(preset.title)
    for key, value in as_data(preset).items():
        if key == "engine" and value == "none":
            value = _NONE_YET
        shown = ", ".join(_pairs(value)) if isinstance(value, dict) else str(value)
        shown = f"{value:,}" if key in ("parameters", "context") else shown
        click.echo(f"  {key:<16}  {shown}")


def _pairs(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A mapping, flat: text_config.hidden_size 4096."""
    flat: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat += _pairs(value, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value)
            flat.append(f"{prefix}{key} {shown.strip(chr(34))}")
    return flat


def count_words(parameters: int | None) -> str:
    """6.74 B, 135 M; a dash if it is not known."""
    if parameters is None:
        return "-"
    for size, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        # Three figures: what rounds up to 1,000 M is 1 B.
        if parameters >= size * 0.9995:
            number = parameters / size
            return f"{number:.0f} {letter}" if number >= 99.95 else f"{number:.3g} {letter}"
    return f"{parameters:,}"
