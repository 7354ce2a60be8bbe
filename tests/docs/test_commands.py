"""Every command in the README and in docs/ works: curls are run, the others are checked."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator

import click
import pytest

from berth.cli.main import main
from docs.pages import berth_arguments, commands, container_words, fences
from e2e.berth_server import ROOT, Server, berth_serve, run_shell


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with berth_serve(tmp_path_factory.mktemp("pocket")) as server:
        yield server


def test_there_are_commands() -> None:
    assert len(commands()) > 15


@pytest.mark.parametrize(("page", "command"), [c for c in commands() if c[1].startswith("curl")])
def test_a_curl_of_the_docs_is_answered(pocket: Server, page: str, command: str) -> None:
    answer = run_shell(command.replace("localhost:5000", f"127.0.0.1:{pocket.port}"))
    assert answer.strip(), page
    if "-N " in command:
        assert answer.rstrip().endswith("data: [DONE]")
    else:
        assert not isinstance(json.loads(answer), str)
        assert "detail" not in json.loads(answer)
        assert "error" not in json.loads(answer)


def test_the_readme_shows_the_answers_that_a_reader_gets(pocket: Server) -> None:
    shown = fences(ROOT / "README.md")
    pairs = [
        (command, answer)
        for (kind, command), (_, answer) in itertools.pairwise(shown)
        if kind == "sh" and command.startswith("curl")
    ]
    assert len(pairs) == 3
    for command, answer in pairs:
        here = command.replace("localhost:5000", f"127.0.0.1:{pocket.port}")
        if "-N " in command:
            # A busy machine may put two tokens into one event; then it is asked again.
            tries = (run_shell(here) for _ in range(10))
            got = next((one for one in tries if one.strip() == answer.strip()), run_shell(here))
            assert got.strip() == answer.strip()
        else:
            assert json.loads(run_shell(here)) == json.loads(answer)


@pytest.mark.parametrize(("page", "command"), [c for c in commands() if c[1].startswith("make")])
def test_a_make_target_of_the_docs_exists(page: str, command: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [word for word in shlex.split(command)[1:] if "=" not in word]
    assert named, page
    assert set(named) <= set(targets), page


@pytest.mark.parametrize(
    ("page", "command"), [c for c in commands() if berth_arguments(c[1]) is not None]
)
def test_a_berth_command_of_the_docs_is_understood(page: str, command: str) -> None:
    arguments = berth_arguments(command)
    assert arguments is not None
    if not arguments or arguments[0].startswith("-"):
        return
    found = main.get_command(click.Context(main), arguments[0])
    assert found is not None, f"{page}: there is no command {arguments[0]}"
    try:
        found.make_context(arguments[0], arguments[1:], resilient_parsing=False)
    except click.exceptions.Exit:  # --help
        pass
    except click.BadParameter as error:
        if "does not exist" not in error.message:  # the docs' folders are not on this machine
            pytest.fail(f"{page}: {command}: {error.message}")


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    for page, command in commands():
        known = command.startswith(("curl", "make")) or berth_arguments(command) is not None
        # Those of containers: test_container_commands.
        assert known or container_words(command), f"{page}: {command}"
