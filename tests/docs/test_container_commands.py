"""Container commands of the docs name Dockerfiles, arguments, options and files that exist.

They are not run here: tests/images builds and runs the real thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import click
import pytest
import yaml

from berth.cli.main import main
from berth.presets.catalogue import load_presets
from docs.pages import PAGES, commands, container_words, fences
from e2e.berth_server import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
FOUND = [(page, words) for page, command in commands() if (words := container_words(command))]


def of_kind(kind: str) -> list[tuple[str, list[str]]]:
    return [(page, words[2:]) for page, words in FOUND if words[1] == kind]


@dataclass
class Parsed:
    """A command's options, and the words that are none."""

    options: list[tuple[str, str]]
    words: list[str]

    def all(self, *names: str) -> list[str]:
        return [value for name, value in self.options if name in names]


def parse(words: list[str], *, flags: set[str], valued: set[str]) -> Parsed:
    """Options up to the first word that is none; fails on an option that nobody put down here."""
    left, parsed = list(words), Parsed([], [])
    while left and left[0].startswith("-"):
        name, equals, value = left.pop(0).partition("=")
        assert name in flags | valued, f"{name} is no option that this test knows"
        parsed.options.append((name, value if equals or name in flags else left.pop(0)))
    parsed.words = left
    return parsed


def test_the_seeds_own_command_is_there() -> None:
    seed = (
        "docker build --build-arg LLAMA_VERSION=llama-2-7b-chat "
        "--build-arg SRC_DIR=presets/llama-2-chat -f presets/llama-2-chat/Dockerfile "
        "-t llama-2-7b-chat ."
    )
    assert seed in [command for _, command in commands()]


@pytest.mark.parametrize(("page", "words"), of_kind("build"))
def test_a_build_names_a_dockerfile_and_arguments_that_it_takes(
    page: str, words: list[str]
) -> None:
    valued = {"-f", "--file", "-t", "--tag", "--build-arg", "--build-context"}
    build = parse(words, flags=set(), valued=valued)
    assert build.words == ["."], page
    (file,) = build.all("-f", "--file")
    text = (ROOT / file).read_text()
    declared = set(re.findall(r"^ARG (\w+)", text, re.MULTILINE))
    given = dict(argument.split("=", 1) for argument in build.all("--build-arg"))
    assert set(given) <= declared, page
    if "SRC_DIR" in given:
        assert (ROOT / given["SRC_DIR"]).is_dir(), page
    for argument in ("LLAMA_VERSION", "FALCON_MODEL_NAME"):
        if argument in given:
            presets = load_presets().values()
            assert given[argument] in {name for p in presets for name in (p.name, p.hub)}, page
    for context in build.all("--build-context"):
        name = context.partition("=")[0]
        assert re.search(rf"^FROM \S+ AS {name}$", text, re.MULTILINE), page


@pytest.mark.parametrize(("page", "words"), of_kind("run"))
def test_a_run_publishes_the_images_port_and_its_options_are_berths(
    page: str, words: list[str]
) -> None:
    flags = {"--rm", "--read-only", "-d"}
    valued = {"-p", "-v", "-e", "--gpus", "--tmpfs", "--name", "--device"}
    run = parse(words, flags=flags, valued=valued)
    image, *arguments = run.words
    name = image.rpartition("/")[2].partition(":")[0]
    assert name in {*load_presets(), "berth"}, page
    assert all(port.endswith(":5000") for port in run.all("-p")), page
    dockerfiles = [path.read_text() for path in ROOT.glob("presets/*/Dockerfile")]
    for volume in run.all("-v"):
        where = volume.split(":")[1]
        assert any(f" {where} " in text or f"={where}\n" in text for text in dockerfiles), page
    serve = main.get_command(click.Context(main), "serve")
    assert serve is not None
    serve.make_context("serve", arguments)


@pytest.mark.parametrize(("page", "words"), of_kind("compose"))
def test_a_compose_command_names_files_and_profiles_that_exist(page: str, words: list[str]) -> None:
    compose = parse(words, flags=set(), valued={"-f", "--profile"})
    assert all((ROOT / file).is_file() for file in compose.all("-f")), page
    known = {
        name for service in COMPOSE["services"].values() for name in service.get("profiles", [])
    }
    assert set(compose.all("--profile")) <= known, page
    assert compose.words in (["up"], ["up", "--build"], ["down"]), page


@pytest.mark.parametrize(("page", "command"), [c for c in commands() if " docker compose" in c[1]])
def test_a_variable_before_compose_is_one_that_the_file_reads(page: str, command: str) -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    set_before = re.findall(r"\b([A-Z_]+)=", command.partition(" docker compose")[0])
    assert set_before, page
    assert all(f"${{{name}" in text for name in set_before), page


def test_every_container_command_is_of_a_kind_that_is_tested() -> None:
    for page, words in FOUND:
        assert words[0] == "docker", f"{page}: {words}"
        assert words[1] in ("build", "run", "compose", "stop"), f"{page}: {words}"


def test_a_workspace_with_a_private_image_names_it_as_the_api_wants() -> None:
    page = ROOT / "docs" / "images.md"
    assert page in PAGES
    (text,) = [body for kind, body in fences(page) if kind == "yaml"]
    workspace = yaml.safe_load(text)
    preset = workspace["inference"]["preset"]
    assert preset["name"] in load_presets()
    assert preset["accessMode"] == "private"
    assert preset["presetOptions"]["image"]
