"""Where the database is. Imports no SQLAlchemy: most servers have no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

FILE = "berth.db"
_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True, slots=True)
class Place:
    """A file of SQLite, or the URL of a PostgreSQL database."""

    file: Path | None = None
    # Hidden from repr(): it may hold a password.
    url: str | None = field(default=None, repr=False)

    def exists(self) -> bool:
        """Whether there is anything to open; of a database behind a URL that is not known.

        Raises OSError where the folder may not be looked into.
        """
        if self.file is None:
            return True
        try:
            self.file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    @property
    def shown(self) -> str:
        """For messages: without user and password."""
        if self.file is not None:
            return str(self.file)
        parts = urlsplit(self.url or "")
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{parts.hostname or ''}{port}{parts.path}"


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Where this user's programs keep their data: $XDG_DATA_HOME, else ~/.local/share.

    Raises RuntimeError where the user has no home.
    """
    base = environ.get("XDG_DATA_HOME", "")
    # The specification: a relative one is to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return root / "berth"


def place_of(state_dir: Path | None, database: str | None, environ: Mapping[str, str]) -> Place:
    """The database of an owner who said this much.

    Args:
        state_dir: the folder of Berth's state.  None: `default_state_dir`.
        database: a URL, postgresql://USER:PASSWORD@HOST/NAME or sqlite:////PATH. None: the file
            berth.db in the folder.

    Raises:
        ValueError: the URL is of another kind, or names no database. It is not repeated.
    """
    if not database:
        return Place(file=(state_dir or default_state_dir(environ)) / FILE)
    try:
        parts = urlsplit(database)
        _ = parts.port
    except ValueError:
        raise ValueError("database is no URL") from None
    if parts.scheme == "sqlite":
        path = unquote(parts.path).removeprefix("/")
        if parts.netloc or not path or path == ":memory:":
            raise ValueError("database must name a file, as sqlite:////var/lib/berth/berth.db")
        return Place(file=Path(path))
    if parts.scheme not in _POSTGRES:
        raise ValueError(
            "database must be a URL of PostgreSQL or SQLite, as postgresql://user@host/berth or "
            "sqlite:////var/lib/berth/berth.db"
        )
    if parts.path in ("", "/"):
        raise ValueError("database must name a database, as postgresql://user@host/berth")
    return Place(url=f"postgresql+psycopg:{database.partition(':')[2]}")
