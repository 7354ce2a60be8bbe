"""`berth keys` and `berth serve` with one database: made, limited, rotated, revoked, noted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from e2e.berth_server import ROOT, berth_serve, poll

CHAT = {"messages": [{"role": "user", "content": "What is 3 plus 4?"}], "max_tokens": 4}


def keys(state: Path, *words: str) -> Any:
    """What `berth keys WORDS --json` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "berth", "keys", *words, "--state-dir", str(state), "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_a_running_server_follows_its_database(tmp_path: Path) -> None:
    state = tmp_path / "state"
    option = ("--state-dir", str(state))
    with berth_serve(tmp_path, *option) as server:
        assert server.call("/v1/chat/completions", CHAT)[0] == 200, "open without a key"
        assert not state.exists(), "a server makes no database"

        def status(secret: str, path: str = "/v1/models", body: Any = None) -> int:
            return server.call(path, body, headers={"Authorization": f"Bearer {secret}"})[0]

        first = keys(state, "create", "first", "--requests-per-minute", "2")
        poll(lambda: server.call("/v1/models")[0] == 401, what="a closed server")
        secret = first["secret"]
        assert status(secret, "/v1/chat/completions", CHAT) == 200
        assert status(secret, "/shutdown", {}) == 403
        # Two seconds at most until both are known, and the last one has no limit to reach.
        second = keys(state, "create", "second")["secret"]
        poll(lambda: status(second) == 200, what="the second key")
        rotated = keys(state, "rotate", "second")["secret"]
        poll(lambda: status(rotated) == 200, what="the new secret")
        assert status(second) == 401
        assert [status(secret) for _ in range(2)][-1] == 429
        keys(state, "revoke", "first")
        poll(lambda: status(secret) == 401, what="the end of the first key")
        assert server.stop() == 0
    listed = {each["name"]: each for each in keys(state, "list", "--all")["keys"]}
    assert listed["first"]["last_used_at"] is not None
    assert listed["second"]["last_used_at"] is not None
    for each in (secret, second, rotated):
        assert each not in server.log


def test_a_server_whose_database_cannot_be_read_does_not_start_open(tmp_path: Path) -> None:
    (tmp_path / "berth.db").write_bytes(b"no database " * 500)
    done = subprocess.run(
        [sys.executable, "-m", "berth", "serve", "--port", "0"],
        env={**os.environ, "BERTH_STATE_DIR": str(tmp_path)},
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith("berth.db cannot be used: file is not a database.\n")
