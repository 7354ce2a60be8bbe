"""Writes into docs/from-kaito.md which of KAITO's curated models Berth serves, and which it lacks.

python -m tools.kaito_page docs/from-kaito.md

kaito_catalogue.txt has the ids of KAITO's presets/workspace/models/model_catalog.yaml as of
v0.12.0 (2026-08-21).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from berth.presets.catalogue import Preset, load_presets
from berth.protocol.engines import ENGINES
from berth.workspace.parse import find_preset

_PART = re.compile(r"(<!-- made: catalogue -->\n).*?(<!-- end -->)", re.DOTALL)
_CATALOGUE = Path(__file__).parent / "kaito_catalogue.txt"


def curated() -> tuple[str, ...]:
    """The hub ids of KAITO's curated models."""
    return tuple(_CATALOGUE.read_text("utf-8").split())


def sorted_out(presets: Mapping[str, Preset]) -> tuple[list[str], list[str], list[str]]:
    """The curated models that an engine serves, that are only known, and that are lacking."""
    served: list[str] = []
    known: list[str] = []
    lacking: list[str] = []
    for name in curated():
        preset = find_preset(name, presets)
        if preset is None:
            lacking.append(name)
        elif preset.engine not in ENGINES or preset.config is None:
            known.append(name)
        else:
            served.append(name)
    return served, known, lacking


def page(text: str, presets: Mapping[str, Preset]) -> str:
    """The page with its made part as it should be."""
    served, known, lacking = sorted_out(presets)
    rows = [
        "| | models | |",
        "|---|---|---|",
        _row("served, under their hub ids", served),
        _row(
            "in the catalogue; no engine of Berth runs them (NoEngine), or their size is not known "
            "(SizeUnknown)",
            known,
        ),
        _row("not in the catalogue: UnknownPreset", lacking),
    ]
    return _PART.sub(lambda found: f"{found[1]}{chr(10).join(rows)}\n{found[2]}", text)


def _row(title: str, names: Sequence[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names) or "none"
    return f"| {title} | {len(names)} | {listed} |"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(page(file.read_text(), load_presets()))
