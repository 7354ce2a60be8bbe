"""What MODEL may not be, said alike by every command that takes one."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from berth.cli.main import main

COMMANDS = {
    "serve": ("serve",),
    "fit": ("fit", "--ram", "8"),
    "check": ("check",),
    "pull": ("pull",),
    "verify": ("verify",),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("empty", ["", " "])
def test_a_variable_that_is_not_set_is_no_model_and_not_this_folder(
    command: str, empty: str
) -> None:
    name, *options = COMMANDS[command]
    done = CliRunner().invoke(main, [name, empty, *options])
    assert done.exit_code == 2
    assert "it is empty; give a preset, a folder or a hub id" in done.output


@pytest.mark.parametrize("command", ["serve", "fit", "pull"])
def test_a_path_that_is_not_there_is_called_a_folder(command: str) -> None:
    name, *options = COMMANDS[command]
    done = CliRunner().invoke(main, [name, "/no/such/folder", *options])
    assert done.exit_code in (1, 2)
    assert "there is no folder /no/such/folder" in done.output
    assert "preset" not in done.output.partition("Error")[2]
