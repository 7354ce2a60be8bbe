"""Are the weights whole? Asked of Berth's own readers, before they go into an image.

    python verify_weights.py --weights /weights --found /found.json --out /weights.json
        --digests /berth-digests.json

First against the catalogue (berth.images.weight_files: names, sizes, headers, the model's shape),
then as the engine opens them: the place, shape and dtype of every tensor. Then every file is read
once: against the digests that are known, and for the digests that the image keeps beside it, by
which each of its starts finds a damaged tensor.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path

from berth.checkpoint.choose import engine_for
from berth.checkpoint.errors import ConfigError
from berth.checkpoint.folder import describe
from berth.checkpoint.layout import folder_layout
from berth.images.weight_files import WeightsMissing, check_weights, needed_names
from berth.models.weights.digests import DigestError, make_digests
from berth.models.weights.folder import open_weight_files, open_weights
from berth.models.weights.names import tensor_shapes
from berth.models.weights.source import WeightError
from berth.models.weights.verify import Verification, checks_for
from berth.presets.catalogue import Preset, PresetError, find_preset
from berth.presets.resolve import locate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--found", type=Path, required=True, help="what find_weights.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--digests", type=Path, required=True)
    asked = parser.parse_args()
    found = json.loads(asked.found.read_text())
    about = {"model": found["model"], "layout": None, "bytes": 0}
    digests = make_digests(asked.weights, [])
    if found["files"]:
        try:
            about |= verified(asked.weights, found["model"])
            digests = make_digests(asked.weights, needed_names(asked.weights))
        except (WeightsMissing, ConfigError, WeightError, DigestError, ValueError) as error:
            said = str(error).replace(str(asked.weights), "the weights' folder")
            held = ", ".join(found["files"])
            sys.stderr.write(f"\nThis image cannot be built: {said}. It holds {held}.\n\n")
            return 1
    asked.out.write_text(json.dumps(about, sort_keys=True) + "\n")
    asked.digests.write_text(json.dumps(digests, sort_keys=True) + "\n")
    return 0


def verified(folder: Path, model: str) -> dict[str, object]:
    """Layout and bytes. Raises what is wrong with the folder."""
    size = check_weights(folder, _preset(model)).total_bytes
    if engine_for(describe(folder)).engine == "native":
        with closing(open_weights(folder)) as source:
            source.check(tensor_shapes(source.config))
    # Another engine's model: its own loader knows which tensors there should be.
    files = open_weight_files(folder)
    with Verification(checks_for(folder, files, "auto"), threads=1) as verifying:
        verifying.finish()
    return {"layout": folder_layout(folder), "bytes": size}


def _preset(model: str) -> Preset:
    """The catalogue's entry; one that expects nothing, where the catalogue has none."""
    try:
        preset = locate(model)[0] if "/" in model else find_preset(model)
    except PresetError:
        preset = None
    return preset or Preset(
        name=model.rpartition("/")[2].lower(),
        family="huggingface",
        title=model,
        licence="unknown",
        context=1,
        engine="transformers",
        template="jinja",
        unknown="it is not in the catalogue",
    )


if __name__ == "__main__":
    sys.exit(main())
