"""The SBOM of an image lists what its Python can import, in a document that validates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

# Runs the image's `python3 -c …` with the Python of this test, and nothing of an image.
_PODMAN = """#!{python}
import os, subprocess, sys
words = sys.argv[1:]
if words[0] == "run":
    assert words[1:7] == ["--rm", "--network", "none", "--entrypoint", "python3", "some:1"], words
    sys.exit(subprocess.run([sys.executable, *words[7:]]).returncode)
"""
_SYFT = """#!{python}
import sys
file = sys.argv[sys.argv.index("--output") + 1].removeprefix("cyclonedx-json=")
open(file, "w").write("by syft of " + sys.argv[2])
"""


def sbom(folder: Path, file: Path, **tools: str) -> subprocess.CompletedProcess[str]:
    for name, text in tools.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    return subprocess.run(
        [sys.executable, "-m", "berth.images.sbom", "some:1", str(file)],
        env={"PATH": str(folder), "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_syft_the_images_own_python_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "new" / "sbom.json"
    done = sbom(tmp_path, file, podman=_PODMAN)
    assert done.returncode == 0, done.stderr
    assert "Python packages only" in done.stderr
    document = json.loads(file.read_text())
    assert document["bomFormat"] == "CycloneDX"
    found = {part["name"]: part["purl"] for part in document["components"]}
    assert found["fastapi"] == f"pkg:pypi/fastapi@{metadata.version('fastapi')}"
    assert len(found) > 20


def test_syft_goes_first_where_it_is_installed(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    done = sbom(tmp_path, file, podman=_PODMAN, syft=_SYFT)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == "by syft of some:1"


def test_an_image_that_cannot_be_looked_into_is_a_sentence(tmp_path: Path) -> None:
    failing = "#!{python}\nimport sys\nsys.exit('no such image' if 'run' in sys.argv else 0)\n"
    done = sbom(tmp_path, tmp_path / "sbom.json", podman=failing)
    assert done.returncode == 1
    assert done.stderr == "no SBOM of some:1: podman ended with status 1: no such image\n"
    (tmp_path / "podman").unlink()
    done = sbom(tmp_path, tmp_path / "sbom.json")
    assert "no SBOM of some:1: neither docker nor podman nor buildah is on PATH" in done.stderr
