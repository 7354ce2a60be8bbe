"""The Dockerfiles are what the template makes, and use nothing that a common tool lacks."""

from __future__ import annotations

import fnmatch
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from e2e.berth_server import ROOT

sys.path.insert(0, str(ROOT / "docker"))
import generate

FILES = {image.path: image for image in generate.images()}
CONTROLLER = "docker/controller/Dockerfile"
ALL = [*FILES, CONTROLLER]


def instructions(path: str) -> list[str]:
    """One instruction each, continuation lines joined, comments left out."""
    lines = [x for x in (ROOT / path).read_text().splitlines() if not x.startswith("#")]
    return [x for x in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines() if x]


@pytest.mark.parametrize("path", FILES)
def test_it_is_what_the_template_makes(path: str) -> None:
    assert (ROOT / path).read_text() == generate.dockerfile(FILES[path]), "run `make docs`"


@pytest.mark.parametrize("path", ALL)
def test_it_uses_no_syntax_that_buildah_1_28_lacks(path: str) -> None:
    for line in instructions(path):
        assert "<<" not in line, "a heredoc"
        assert "--link" not in line
        assert "--parents" not in line
        assert not re.match(r"ADD|COPY --exclude", line)


def stages(path: str) -> dict[str, list[str]]:
    """Instructions by stage; the last one, which has no name, under "image"."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in instructions(path):
        if match := re.match(r"FROM \S+(?: AS (\S+))?", line):
            name = match[1] or "image"
            found[name] = []
        found[name].append(line)
    return found


def test_what_does_not_depend_on_the_model_is_the_same_everywhere() -> None:
    """So that its layers are the same bytes in all images."""
    for stage in ("dependencies", "code"):
        texts = {
            "\n".join(line for line in stages(path)[stage] if not line.startswith("ARG EXTRAS"))
            for path in FILES
        }
        assert len(texts) == 1


@pytest.mark.parametrize("path", [path for path, image in FILES.items() if image.folder])
def test_weights_come_before_what_changes_more_often(path: str) -> None:
    copies = [line for line in stages(path)["image"] if line.startswith("COPY")]
    assert "--from=weights" in copies[0]
    order = [re.search(r"--from=\w+ (/opt/berth/[\w-]+) ", line) for line in copies[1:]]
    assert [match[1] for match in order if match] == [
        "/opt/berth/torch",
        "/opt/berth/venv",
        "/opt/berth/built-in",
        "/opt/berth/code",
    ]


@pytest.mark.parametrize("path", FILES)
def test_every_server_brings_the_models_that_need_no_download(path: str) -> None:
    """In the folder that BERTH_PRESETS names: there `berth serve pocket` looks for them."""
    image = stages(path)["image"]
    (copied,) = [line for line in image if "--from=code /opt/berth/built-in" in line]
    (presets,) = re.findall(r"BERTH_PRESETS=(\S+)", "\n".join(image))
    assert copied.split()[-1] == presets


def _ignored(name: str) -> bool:
    """By .dockerignore, whose last matching line decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        wanted = line.removeprefix("!").rstrip("/")
        below = [name, *(str(parent) for parent in Path(name).parents if str(parent) != ".")]
        patterns = [wanted, wanted.removeprefix("**/")] if wanted.startswith("**/") else [wanted]
        if any(fnmatch.fnmatch(part, p) for part in below for p in patterns):
            ignored = not line.startswith("!")
    return ignored


@pytest.mark.parametrize("path", ALL)
def test_what_it_copies_is_there_and_is_sent(path: str) -> None:
    for line in instructions(path):
        if not line.startswith("COPY") or "--from=" in line:
            continue
        sources = [word for word in line.split()[1:-1] if not word.startswith("--")]
        for source in (word for word in sources if not re.search(r"[$\[*]", word)):
            assert (ROOT / source).exists(), line
            assert not _ignored(source), line


def test_the_context_is_small_and_weights_may_be_in_it() -> None:
    for name in (".venv/bin/python", ".git/HEAD", "tests/conftest.py", "docs/fit.md"):
        assert _ignored(name), name
    for name in ("llama/llama-2-7b/params.json", "falcon/tiiuae/falcon-7b/config.json"):
        assert not _ignored(name), name


@pytest.mark.parametrize("path", ALL)
def test_it_ends_as_nobody_special_and_with_an_init(path: str) -> None:
    image = stages(path)["image"]
    assert [line for line in image if line.startswith("USER")] == ["USER 10001:10001"]
    assert image[-1].startswith('ENTRYPOINT ["/usr/bin/tini", "--", "/opt/berth/code/bin/berth"')
    assert "STOPSIGNAL SIGTERM" in image
    assert any("10001:10001" in line and "/etc/passwd" in line for line in image)
    if path != CONTROLLER:
        assert "EXPOSE 5000" in image
        assert any(line.startswith("HEALTHCHECK") for line in image)


def test_the_version_is_the_packages() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for path in ALL:
        assert f"ARG VERSION={version}" in instructions(path), path


def test_pinned_versions_are_within_what_the_package_allows() -> None:
    lines = (ROOT / "docker/constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    for extra in ("server", "engine", "transformers", "controller"):
        wanted += [line for line in extras[extra] if not line.startswith("berth[")]
    for line in wanted:
        need = Requirement(line)
        assert need.name in pinned, f"{need.name} is not pinned: run docker/pin.py"
        assert Version(pinned[need.name]) in need.specifier, line
