"""Where the database is, as every command that uses it asks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from berth.store.place import Place, default_state_dir, place_of

STORE_OPTIONS = [
    click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="BERTH_STATE_DIR",
        help="Folder of Berth's database.  [default: ~/.local/share/berth]",
    ),
    click.option(
        "--database",
        envvar="BERTH_DATABASE",
        help="URL of the database instead, as postgresql://USER@HOST/NAME. With a password in it "
        "give it by BERTH_DATABASE: other users see a command's words.",
    ),
]


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --state-dir and --database."""
    for option in reversed(STORE_OPTIONS):
        command = option(command)
    return command


def place(state_dir: Path | None, database: str | None) -> Place:
    """What the options say. Raises click.UsageError."""
    try:
        return place_of(state_dir, database, os.environ)
    except ValueError as error:
        raise click.UsageError(f"--{error}") from None
    except RuntimeError:
        raise click.UsageError("This user has no home; name a folder with --state-dir.") from None


def place_if_any(state_dir: Path | None, database: str | None) -> Place | None:
    """The same; None if no option is given and the user has no home, and so made no keys.

    Containers run so, as a user that /etc/passwd does not know. Raises click.UsageError.
    """
    if state_dir is None and not database:
        try:
            default_state_dir(os.environ)
        except RuntimeError:
            return None
    return place(state_dir, database)
