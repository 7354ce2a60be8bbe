"""docs/keys.md: its commands run, one after the other, and its tables say what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from berth.cli.keys import create
from berth.cli.main import main
from berth.store.records import DialectTag
from docs.pages import berth_arguments, fences
from e2e.berth_server import ROOT

PAGE = ROOT / "docs/keys.md"


def test_the_commands_of_the_page_do_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name in ("BERTH_STATE_DIR", "BERTH_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    (first, *_) = [body for kind, body in fences(PAGE) if kind == "sh"]
    done = []
    for line in first.splitlines():
        arguments = berth_arguments(line)
        assert arguments is not None
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{line}: {result.output}"
        done.append(arguments[1])
    assert done == ["create", "create", "list", "rotate", "revoke"]
    assert (tmp_path / "berth" / "berth.db").exists()


def test_the_table_has_every_option_of_create() -> None:
    rows = set(re.findall(r"^\| `(--[a-z-]+)", PAGE.read_text(), re.MULTILINE))
    shared = {"--state-dir", "--database", "--json"}
    options = {option for each in create.params for option in each.opts if option[:2] == "--"}
    assert rows == options - shared
    for tag in get_args(DialectTag):
        assert f"`{tag}`" in PAGE.read_text()
