"""Put Berth beside its dependencies: the package, the catalogue, the kernels, the probe.

    python3 install_code.py --into /opt/berth

All of it lies in /opt/berth/code, the image's topmost large layer: a new version of Berth replaces
that and nothing below.
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
    parser.add_argument("--without-kernels", action="store_true")
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
    if not asked.without_kernels:
        _run(python, "-m", "berth.kernels.variants", code / "kernels")
    slim.settle([code])
    return 0


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True)


if __name__ == "__main__":
    sys.exit(main())
