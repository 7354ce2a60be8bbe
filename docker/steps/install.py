"""Install what Berth depends on into one tree, trimmed, compiled and without a trace of the clock.

    python3 install.py --variant cpu --extras server,engine --torch-index URL --into /opt/berth

leaves /opt/berth/venv (an interpreter and the dependencies) and /opt/berth/torch (torch and its own
libraries, in a layer of their own: they are most of the image and change least). Runs in an image's
build, on nothing but the standard library.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import slim

HERE = Path(__file__).parent
TOOLS = Path("/opt/tools")  # pip and setuptools: they stay out of the image
TORCH = ("torch", "torchgen", "functorch", "nvidia", "triton")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--extras", required=True, help="of pyproject.toml, with commas")
    parser.add_argument("--torch-index", default="", help="of the CPU build; empty: pip's own")
    parser.add_argument("--into", type=Path, required=True)
    asked = parser.parse_args()

    extras = [extra for extra in asked.extras.split(",") if extra]
    wanted = requirements(tomllib.loads((HERE / "pyproject.toml").read_text()), extras)
    _make_tools()
    tree = asked.into / "venv"
    venv.create(tree, symlinks=True)  # without pip
    if with_torch := any(re.match(r"torch\b", line) for line in wanted):
        _install_torch(tree, asked.variant, asked.torch_index)
    _pip(tree, *wanted)
    packages = next(tree.glob("lib/python*/site-packages"))
    slim.trim(packages, keep=extras)
    apart = asked.into / "torch"
    if with_torch:
        _split(packages, apart)
    (packages / "berth.pth").write_text(f"{apart}\n{asked.into / 'code'}\n")
    folders = [packages, apart] if with_torch else [packages]
    slim.compile_all(folders)
    slim.settle([asked.into])
    slim.table(folders)
    return 0


def requirements(project: dict[str, object], extras: list[str]) -> list[str]:
    """The requirements of pyproject.toml's extras; those that name Berth's own are followed.

    Raises:
        SystemExit: there is no such extra.
    """
    about = project["project"]
    assert isinstance(about, dict)
    known = about["optional-dependencies"]
    lines = list(about["dependencies"])
    left = list(extras)
    seen: set[str] = set()
    while left:
        extra = left.pop(0)
        if extra not in known:
            sys.exit(f"EXTRAS names {extra!r}; pyproject.toml has {', '.join(sorted(known))}")
        if extra in seen:
            continue
        seen.add(extra)
        for line in known[extra]:
            if own := re.fullmatch(r"berth\[([\w,-]+)\]", line):
                left.extend(own[1].split(","))
            else:
                lines.append(line)
    return sorted(set(lines))


def _make_tools() -> None:
    venv.create(TOOLS, with_pip=True, symlinks=True)
    _run(TOOLS / "bin/pip", "install", "--quiet", "-c", HERE / "constraints.txt", "setuptools")


def _install_torch(tree: Path, variant: str, index: str) -> None:
    version = _pinned("torch")
    if variant == "cuda":
        _pip(tree, f"torch=={version}")  # with NVIDIA's libraries, which it names exactly
        return
    # Alone, so that no other package is ever taken from torch's index.
    source = ["--index-url", index] if index else []
    _pip(tree, "--no-deps", *source, f"torch=={version}+cpu")


def _pinned(name: str) -> str:
    for line in (HERE / "constraints.txt").read_text().splitlines():
        if line.startswith(f"{name}=="):
            return line.partition("==")[2]
    sys.exit(f"constraints.txt does not say which {name}")


def _pip(tree: Path, *words: str) -> None:
    _run(
        *(TOOLS / "bin/pip", "--python", tree / "bin/python", "install", "--quiet"),
        *("--no-compile", "--no-warn-script-location", "-c", HERE / "constraints.txt"),
        *words,
    )


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, env=dict(os.environ))


def _split(packages: Path, apart: Path) -> None:
    """Move torch out, and what belongs to it; a .pth file keeps it importable."""
    apart.mkdir()
    for path in sorted(packages.iterdir()):
        name = re.split(r"[-.]", path.name)[0]
        if name in TORCH or name.startswith("nvidia_"):
            shutil.move(path, apart / path.name)


if __name__ == "__main__":
    sys.exit(main())
