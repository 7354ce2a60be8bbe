"""berth keys: made, listed, rotated, revoked; the secret is shown once and to standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from berth.cli.main import main
from berth.store.keys import KeyStore
from berth.store.place import place_of

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("BERTH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("BERTH_DATABASE", raising=False)

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["keys", *words])

    return run


def store(tmp_path: Path) -> KeyStore:
    return KeyStore(place_of(tmp_path / "state", None, {}))


def test_the_secret_alone_is_printed_and_opens_what_was_asked(run: Run, tmp_path: Path) -> None:
    made = run(
        *("create", "ci", "--note", "the nightly run", "--role", "admin", "--model", "a"),
        *("--model", "b/c", "--requests-per-minute", "60", "--concurrent", "4"),
        *("--expires", "90d", "--dialect", "local_llm"),
    )
    assert made.exit_code == 0, made.output
    secret = made.stdout.removesuffix("\n")
    assert "ci" in made.stderr
    assert secret not in made.stderr
    found = store(tmp_path).snapshot().find(secret.encode(), int(time.time())).key
    assert found is not None
    assert (found.name, found.note, found.role) == ("ci", "the nightly run", "admin")
    assert (found.models, found.requests_per_minute, found.concurrent) == (("a", "b/c"), 60, 4)
    assert found.dialect == "local_llm"
    assert found.expires_at is not None
    assert found.expires_at - found.created_at == 90 * 86_400


def test_json_has_all_fields_under_one_name_in_every_command(run: Run) -> None:
    made = json.loads(run("create", "ci", "--expires", "2999-01-31", "--json").stdout)
    assert made.pop("secret").startswith("sk-berth-")
    assert made["expires_at"] == "2999-01-31T00:00:00Z"
    assert (made["models"], made["requests_per_minute"], made["last_used_at"]) == (None,) * 3
    assert (made["status"], made["role"], made["note"]) == ("active", "user", "")
    assert json.loads(run("list", "--json").stdout) == {"keys": [made]}
    rotated = json.loads(run("rotate", "ci", "--json").stdout)
    assert rotated.pop("secret").startswith(rotated["hint"].removesuffix("…"))
    assert rotated["id"] == made["id"]
    revoked = json.loads(run("revoke", "ci", "--json").stdout)
    assert revoked["status"] == "revoked"
    assert json.loads(run("list", "--json").stdout) == {"keys": []}
    assert json.loads(run("list", "--all", "--json").stdout) == {"keys": [revoked]}


def test_a_list_shows_no_secret(run: Run) -> None:
    secret = run("create", "ci", "--requests-per-minute", "9").stdout.strip()
    told = run("list")
    assert told.exit_code == 0
    header, line = told.stdout.splitlines()
    assert header.split()[:4] == ["NAME", "ID", "ROLE", "STATUS"]
    assert line.split()[0] == "ci"
    assert "9/min" in line
    assert secret not in told.stdout


def test_a_list_makes_no_database(run: Run, tmp_path: Path) -> None:
    assert run("list").stdout == "There are no keys.\n"
    assert not (tmp_path / "state").exists()
    run("create", "ci")
    run("revoke", "ci")
    assert run("list").stdout == "All keys are revoked; see --all.\n"


def test_rotation_says_until_when_the_old_secret_opens(run: Run, tmp_path: Path) -> None:
    old = run("create", "ci").stdout.strip()
    rotated = run("rotate", "ci", "--grace", "1h")
    assert "The old secret opens until 20" in rotated.stderr
    new = rotated.stdout.strip()
    snapshot, now = store(tmp_path).snapshot(), int(time.time())
    assert snapshot.find(old.encode(), now).reason is None
    assert snapshot.find(old.encode(), now + 3601).reason == "replaced"
    assert snapshot.find(new.encode(), now + 3601).reason is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "taken"], 1, "There is a key named 'taken' already"),
        (["revoke", "nobody"], 1, "There is no key 'nobody'"),
        (["rotate", "../x"], 1, "There is no key '../x'"),
        (["create", "x\x07"], 2, "NAME must have printable characters only"),
        (["create", "x", "--note", "y" * 1001], 2, "--note must have 1000 characters at most"),
        (["create", "x", "--model", ""], 2, "--model must not be empty"),
        (["create", "x", "--requests-per-minute", "0"], 2,
         "--requests-per-minute must be between 1 and 1000000, not 0"),
        (["create", "x", "--concurrent", "-1"], 2, "--concurrent must be between 1 and"),
        (["create", "x", "--expires", "soon"], 2, "--expires: 'soon' is no moment"),
        (["create", "x", "--expires", "2020-01-01"], 2, "has passed already"),
        (["create", "x", "--role", "root"], 2, "'root' is not one of 'user', 'admin'"),
        (["create", "x", "--dialect", "morse"], 2, "'morse' is not one of"),
        (["rotate", "taken", "--grace", "long"], 2, "--grace: 'long' is no span of time"),
        (["list", "--database", "mysql://x/y"], 2, "--database must be a URL of PostgreSQL"),
        (["list", "--database", "postgresql://u:hunter2@/n?host=/nowhere"], 2, "cannot be used"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_sentence(
    run: Run, words: list[str], code: int, said: str
) -> None:
    run("create", "taken")
    done = run(*words)
    assert said in done.stderr.replace("\n", " ")
    assert "hunter2" not in done.stderr
    assert (done.exit_code, done.stdout) == (code, "")


def test_a_database_that_is_none_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "berth.db").write_bytes(b"no database at all " * 300)
    for words in (["list"], ["create", "x"]):
        done = run(*words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.endswith("cannot be used: file is not a database.\n")
