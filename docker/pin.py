"""Write docker/constraints.txt: the versions that the images install, from this environment's.

    .venv/bin/python docker/pin.py

Run it where the tests have passed (`make test`): images then hold what was tested. It follows the
requirements of pyproject.toml's extras that images install, by what is installed here.
"""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("server", "engine", "transformers", "controller")
BUILD = "setuptools"  # what builds Berth's own package
_HEAD = """\
# Written by docker/pin.py from an environment that the tests passed in. What images install.
"""


def closure() -> dict[str, str]:
    """Every distribution that the extras need here, and its version without a local label."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = project["optional-dependencies"]
    left = [Requirement(line) for line in project["dependencies"]]
    left += [Requirement(line) for extra in EXTRAS for line in own[extra]]
    left.append(Requirement(BUILD))
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        key = (name, frozenset(wanted.extras))
        if name == "berth" or key in seen:
            continue
        seen.add(key)
        installed = metadata.distribution(name)
        found[name] = installed.version.partition("+")[0]
        for line in installed.requires or ():
            further = Requirement(line)
            environments = [{"extra": extra} for extra in (*wanted.extras, "")]
            marker = further.marker
            if marker is None or any(marker.evaluate(where) for where in environments):
                left.append(further)
    return found


def text() -> str:
    """The file."""
    return _HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(closure().items()))


if __name__ == "__main__":
    (ROOT / "docker/constraints.txt").write_text(text())
    sys.stdout.write("docker/constraints.txt\n")
