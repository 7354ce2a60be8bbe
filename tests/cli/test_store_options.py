"""Where the database is, as commands are told; a user without a home has none."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from berth.cli.store_options import place, place_if_any

FOLDER = Path("/state")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Path.home() is for a user that /etc/passwd does not know, without HOME."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_a_server_has_no_database_and_keys_ask_for_a_folder() -> None:
    assert place_if_any(None, None) is None
    assert place_if_any(None, "") is None
    with pytest.raises(click.UsageError, match="--state-dir"):
        place(None, None)


@pytest.mark.usefixtures("homeless")
def test_what_is_said_needs_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (place, place_if_any):
        assert function(FOLDER, None).file == FOLDER / "berth.db"
        assert function(None, "postgresql://h/n").url == "postgresql+psycopg://h/n"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert place_if_any(None, None).file == Path("/data/berth/berth.db")


def test_a_url_that_is_none_is_refused_by_the_options_name() -> None:
    for function in (place, place_if_any):
        with pytest.raises(click.UsageError, match=r"^--database must be a URL"):
            function(None, "mysql://u:hunter2@h/n")
