"""`python -m berth.images.sbom IMAGE FILE`: what an image is made of, as a CycloneDX document.

syft looks at everything, if it is installed. Without it the image's own Python lists the
distributions that it can import. Debian's packages are not in that list, which a line on standard
error says.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from berth.images.tools import ToolError, find_tool

# Every image of ours has python3 first on its PATH.
_LIST = (
    "import importlib.metadata as m\n"
    "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
    "print('\\n'.join(f'{n}=={found[n]}' for n in sorted(found, key=str.lower)))\n"
)


def write_sbom(image: str, file: Path) -> str:
    """Write the document; returns what made it.

    Raises:
        ToolError: the image cannot be looked into, or nothing can write the document.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which("syft") is not None:
        _output(["syft", "scan", image, "--output", f"cyclonedx-json={file}"])
        return "syft"
    run = [find_tool().runner, "run", "--rm", "--network", "none", "--entrypoint", "python3"]
    listed = _output([*run, image, "-c", _LIST])
    options = ["--output-format", "JSON", "--output-reproducible", "--output-file", str(file)]
    _output([sys.executable, "-m", "cyclonedx_py", "requirements", *options, "-"], listed)
    return "cyclonedx-bom"


def _output(command: list[str], given: str | None = None) -> str:
    """What a command prints. Raises ToolError with what it complained of."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ToolError(f"{command[0]} is not on PATH") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ToolError(f"{command[0]} ended with status {done.returncode}: {said[0]}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m berth.images.sbom")
    parser.add_argument("image")
    parser.add_argument("file", type=Path)
    asked = parser.parse_args()
    try:
        maker = write_sbom(asked.image, asked.file)
    except ToolError as error:
        sys.stderr.write(f"no SBOM of {asked.image}: {error}\n")
        return 1
    note = "" if maker == "syft" else "; Python packages only: install syft for Debian's as well"
    sys.stderr.write(f"{asked.file} ({maker}{note})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
