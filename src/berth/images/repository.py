"""The checkout that images are built from: Dockerfiles, code, and the moment of its last commit."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from berth.presets.catalogue import PresetError, presets_folder

_NEEDS = "berth build needs a checkout of Berth's repository, since an image is made of it"


@dataclass(frozen=True, slots=True)
class Repository:
    """A checkout."""

    root: Path
    epoch: int | None  # seconds since 1970 of its last commit; None if that is not known
    revision: str | None  # that commit; None if it is not known, or the files differ from it

    def require(self, dockerfile: str) -> None:
        """Raises PresetError if the Dockerfile is not there."""
        if not (self.root / dockerfile).is_file():
            raise PresetError(f"there is no {dockerfile} in {self.root}; {_NEEDS}")


def find_repository() -> Repository:
    """Around the catalogue's folder: BERTH_PRESETS, else the checkout that this package runs from.

    Raises:
        PresetError: the catalogue is not in a checkout.
    """
    try:
        root = presets_folder().absolute().parent
    except PresetError as error:
        raise PresetError(f"{error}; {_NEEDS}") from error
    if not (root / "pyproject.toml").is_file() or not (root / "src" / "berth").is_dir():
        raise PresetError(f"{root} is no checkout of Berth; {_NEEDS}; set BERTH_PRESETS to its")
    return Repository(root, _epoch(root), _revision(root))


def _epoch(root: Path) -> int | None:
    """SOURCE_DATE_EPOCH if it is set (reproducible-builds.org), else the last commit's."""
    named = os.environ.get("SOURCE_DATE_EPOCH")
    if named is not None:
        if not named.isdigit():
            raise PresetError(f"SOURCE_DATE_EPOCH should be seconds since 1970, not {named!r}")
        return int(named)
    said = _git(root, "log", "-1", "--format=%ct")
    return int(said) if said is not None and said.isdigit() else None


def _revision(root: Path) -> str | None:
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return _git(root, "rev-parse", "HEAD") if changed == "" else None


def _git(root: Path, *arguments: str) -> str | None:
    """What git says about the checkout; None if there is no git, or it is no clone."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
