"""Put Berth beside its dependencies: the package, the catalogue, the kernels, the probe.

    python3 install_code.py --into /opt/berth

All of it lies in /opt/berth/code, the image's topmost large layer: a new version of Berth replaces
that and nothing below. The weights that the catalogue has itself, of models that need no download,
go to /opt/berth/built-in, for a layer of their own below the code.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import slim

HERE = Path(__file__).parent
TOOLS = Path("/opt/tools")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument(
        "--without-engine", action="store_true", help="no kernels and no weights: it serves none"
    )
    asked = parser.parse_args()
    python, code = asked.into / "venv/bin/python", asked.into / "code"

    # The dependencies are there, and the package's own build needs only setuptools.
    pip = (TOOLS / "bin/pip", "--quiet", "--no-input")
    built = ("--no-deps", "--no-build-isolation", "--no-index")
    _run(*pip, "wheel", *built, "--wheel-dir", HERE / "wheels", HERE)
    _run(
        *(*pip, "--python", python, "install", "--no-deps", "--no-compile", "--no-index"),
        *("--target", code, *(HERE / "wheels").glob("*.whl")),
    )
    # pip writes here where the package came from: a folder of this build.
    for trace in code.glob("*.dist-info/direct_url.json"):
        trace.unlink()
    for preset in sorted(HERE.glob("presets/*/preset.yaml")):
        target = code / "presets" / preset.parent.name
        target.mkdir(parents=True)
        shutil.copy(preset, target)
    for name in ("healthcheck.py", "kaito"):
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, code / name)
        elif (HERE / name).exists():
            shutil.copy(HERE / name, code)
    slim.compile_all([code])
    settled = [code]
    if not asked.without_engine:
        _run(python, "-m", "berth.kernels.variants", code / "kernels")
        settled.append(_built_in(python, asked.into / "built-in"))
    slim.settle(settled)
    return 0


def _built_in(python: Path, into: Path) -> Path:
    """The weights of every preset that needs no download, in folders as the catalogue has them."""
    into.mkdir()
    # Asked of the catalogue's own reader: which keys of preset.yaml lead to a folder, it knows.
    listing = (
        "from pathlib import Path; from berth.presets.catalogue import load_presets; "
        f"folders = (p.weights for p in load_presets(Path({str(HERE / 'presets')!r})).values()); "
        "print(*sorted({str(folder) for folder in folders if folder}), sep='\\n')"
    )
    said = subprocess.run([str(python), "-c", listing], check=True, capture_output=True, text=True)
    for folder in said.stdout.splitlines():
        shutil.copytree(folder, into / Path(folder).relative_to(HERE / "presets"))
    return into


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True)


if __name__ == "__main__":
    sys.exit(main())
