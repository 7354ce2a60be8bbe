"""Where the database is, as owners say it; and no message holds a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from berth.store.place import Place, place_of


def test_the_default_is_the_users_own_folder_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    default = Place(file=Path("/home/ada/.local/share/berth/berth.db"))
    assert place_of(None, None, {}) == default
    assert place_of(None, "", {"XDG_DATA_HOME": "relative"}) == default
    assert place_of(None, None, {"XDG_DATA_HOME": "/d"}).file == Path("/d/berth/berth.db")


def test_a_folder_or_a_url_says_otherwise() -> None:
    assert place_of(Path("/s"), None, {}).file == Path("/s/berth.db")
    assert place_of(Path("/s"), "sqlite:////x/y.db", {}).file == Path("/x/y.db")
    assert place_of(None, "sqlite:///x%20y.db", {}).file == Path("x y.db")
    for url in (
        "postgresql://u:p@h:5433/n", "postgres://u:p@h:5433/n", "postgresql+psycopg://u:p@h:5433/n"
    ):  # fmt: skip
        assert place_of(Path("/s"), url, {}).url == "postgresql+psycopg://u:p@h:5433/n"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/n", "hunter2", "sqlite://", "sqlite:///", "sqlite:///:memory:",
        "sqlite://hunter2/x", "postgresql://u:hunter2@h", "postgresql://u:hunter2@h:port/n",
        "postgresql://u:hunter2@[/n", "postgresql+asyncpg://u:hunter2@h/n",
    ],
)  # fmt: skip
def test_another_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^database ") as caught:
        place_of(None, url, {})
    assert "hunter2" not in str(caught.value)


def test_neither_repr_nor_messages_hold_a_password() -> None:
    place = place_of(None, "postgresql://u:hunter2@db.example:5433/berth?sslmode=require", {})
    assert "hunter2" not in repr(place)
    assert place.shown == "postgresql://db.example:5433/berth"


def test_a_file_is_there_or_not(tmp_path: Path) -> None:
    place = place_of(tmp_path / "no" / "folder", None, {})
    assert not place.exists()
    (tmp_path / "file").touch()
    assert not place_of(tmp_path / "file", None, {}).exists(), "a file where a folder should be"
    (tmp_path / "berth.db").touch()
    assert place_of(tmp_path, None, {}).exists()
