"""`berth` as it runs where only some of its extras are installed.

The other packages are here: a process is told to find none of what the named extras do not bring,
by their own requirements, and theirs in turn.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Python runs it in every process that finds it on its path.
_HIDE = """
import os, sys

class Hidden:
    names = frozenset(os.environ["HIDDEN_MODULES"].split(","))
    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def installed_with(extras: Iterable[str]) -> frozenset[str]:
    """The distributions that `pip install berth[extras]` brings."""
    found: dict[str, set[str]] = {}
    left = [("berth", frozenset(extras))]
    while left:
        name, wanted = left.pop()
        if name in found and wanted <= found[name]:
            continue
        found[name] = found.get(name, set()) | wanted
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            marker = requirement.marker
            if marker is None or any(
                marker.evaluate({"extra": extra}) for extra in {"", *found[name]}
            ):
                left.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return frozenset(found)


@functools.cache
def hidden(*extras: str) -> frozenset[str]:
    """The modules that are here and would not be."""
    there = installed_with(extras)
    return frozenset(
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if not any(canonicalize_name(name) in there for name in names)
        and module not in {"berth", *sys.stdlib_module_names}
    )


def berth(
    folder: Path, *arguments: str, extras: tuple[str, ...] = (), timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run it; `folder` is any empty one."""
    (folder / "sitecustomize.py").write_text(_HIDE)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "HIDDEN_MODULES": ",".join(sorted(hidden(*extras))),
    }
    return subprocess.run(
        [sys.executable, "-m", "berth.cli.main", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
