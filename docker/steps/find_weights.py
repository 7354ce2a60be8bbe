"""Are the weights there, and is the model a known one? A sentence otherwise, before anything else.

    python3 find_weights.py --weights /weights --there there --argument LLAMA_VERSION
        --model llama-2-7b-chat --folder llama/llama-2-7b-chat --catalogue preset.yaml --out FILE

Runs first in an image's build, on nothing but the standard library: whether each tensor is whole is
asked later (verify_weights.py), once there is something that can read them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

NOTE = "weights.txt"  # in the image, beside the weights
NONE = "docker/none"  # the folder with nothing but that
_SHOWN = 20  # names of files in a sentence


class NotThere(Exception):
    """The build cannot go on; the message is a sentence."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="where they are mounted")
    parser.add_argument("--there", type=Path, help="one folder for each version in the context")
    parser.add_argument("--argument", required=True, help="the build argument that names the model")
    parser.add_argument("--model", required=True, help="its value")
    parser.add_argument("--folder", required=True, help="where in the context they should be")
    parser.add_argument("--catalogue", type=Path, help="preset.yaml of the family")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    try:
        model = named(asked.model, asked.argument, asked.catalogue)
        folder = re.sub(r"[\[\]]", "", asked.folder)  # it may come as a pattern
        names = held(asked.weights, folder, asked.there, model)
    except NotThere as error:
        sys.stderr.write(f"\nThis image cannot be built: {error}\n\n")
        return 1
    asked.out.write_text(json.dumps({"model": model, "files": names}))
    what = f"{len(names)} files" if names else "no weights, as was asked for"
    sys.stdout.write(f"{model}: {what}\n")
    return 0


def named(model: str, argument: str, catalogue: Path | None) -> str:
    """The model's name in the catalogue, where there is one. Raises NotThere."""
    known = versions(catalogue.read_text()) if catalogue is not None else {}
    listing = f"; it should be one of {', '.join(dict.fromkeys(known.values()))}" if known else ""
    if not model:
        example = next(iter(known.values()), "Qwen/Qwen3-8B")
        raise NotThere(f"say which model it is: --build-arg {argument}={example}{listing}")
    last = model.rstrip("/").rpartition("/")[2]
    if not known:
        return model
    for name in (model, last):
        if name.lower() in known:
            return known[name.lower()]
    raise NotThere(f"{argument} is {model!r}, which is no version that the catalogue has{listing}")


def versions(catalogue: str) -> dict[str, str]:
    """Preset names by themselves and by their hub's name, in lower case."""
    found: dict[str, str] = {}
    name = ""
    for line in catalogue.splitlines():
        if match := re.match(r"  - name: (\S+)", line):
            name = match[1]
            found[name.lower()] = name
        elif match := re.match(r"    hub: (\S+)", line):
            found[match[1].lower()] = name
    return found


def held(weights: Path, folder: str, there: Path | None, model: str) -> list[str]:
    """The files that were given. Raises NotThere where there is none, unless that was asked for."""
    names = sorted(path.name for path in weights.iterdir() if path.name != NOTE)
    if folder.strip("/") == NONE:
        return []
    if not names:
        others = sorted(_versions_there(there)) if there is not None and there.is_dir() else []
        lies = f"weights are in {', '.join(others)}" if others else "nor of another version"
        raise NotThere(
            f"the build's context has no files in {folder}/ ({lies}). Put the weights of {model} "
            "there, or name their folder with --build-context weights=DIR, or leave them out with "
            f"--build-arg WEIGHTS={NONE}"
        )
    if not any(name in names for name in ("params.json", "config.json")):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise NotThere(
            f"{folder}/ is no model's folder: it needs params.json and consolidated.NN.pth (Meta's "
            "layout) or config.json and *.safetensors (Hugging Face's); it holds "
            f"{', '.join(names[:_SHOWN])}{more}"
        )
    return names


def _versions_there(there: Path) -> set[str]:
    """Folders that hold more than the note, relative to `there`."""
    return {
        str(path.parent.relative_to(there))
        for path in there.rglob("*")
        if path.is_file() and path.name != NOTE
    }


if __name__ == "__main__":
    sys.exit(main())
