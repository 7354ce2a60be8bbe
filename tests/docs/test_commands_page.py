"""docs/commands.md: every command with its extras, and every exit code."""

from __future__ import annotations

import re

from berth.cli import ends
from berth.cli.main import _COMMANDS
from e2e.berth_server import ROOT

PAGE = (ROOT / "docs/commands.md").read_text()


def test_every_command_is_in_the_table_with_its_extras() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE))
    assert rows.keys() == _COMMANDS.keys()
    for name, command in _COMMANDS.items():
        assert set(command.extras) <= set(re.findall(r"`(\w+)`", rows[name])), name
        if not command.extras:
            assert rows[name] == "none"


def test_the_exit_codes_are_those_that_commands_end_with() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    used = {ends.CANNOT, ends.MISTAKE, ends.INTERRUPTED, ends.UNREAD}
    assert codes == {0, 1, 143} | used
