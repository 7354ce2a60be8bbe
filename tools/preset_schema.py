"""Writes the JSON schema of preset.yaml: python -m tools.preset_schema FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from berth.presets.catalogue import schema


def write(folder: Path) -> Path:
    """Write schema.json into the catalogue's folder."""
    file = folder / "schema.json"
    file.write_text(json.dumps(schema(), indent=2, sort_keys=True) + "\n")
    return file


if __name__ == "__main__":
    write(Path(sys.argv[1]))
