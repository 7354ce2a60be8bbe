"""Debian's PostgreSQL, started for the tests and ended after them."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg


def programs() -> Path | None:
    """Where initdb and postgres are; Debian keeps them out of the PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    return None


class PostgresServer:
    """One running server; `database` makes a database in it and says its URL."""

    def __init__(self, socket_dir: Path) -> None:
        self._socket_dir = socket_dir
        self._numbers = itertools.count(1)

    def database(self) -> str:
        name = f"berth_{next(self._numbers)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://berth@/{name}?host={self._socket_dir}"

    def _conninfo(self, name: str) -> str:
        return f"host={self._socket_dir} user=berth dbname={name}"

    def answers(self) -> bool:
        try:
            psycopg.connect(self._conninfo("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextlib.contextmanager
def postgres_server(binaries: Path) -> Iterator[PostgresServer]:
    """On a Unix socket alone, so that no port is taken. PostgreSQL refuses to run as root."""
    user = "nobody" if os.geteuid() == 0 else None
    # Short: a socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="berth-pg-", dir="/tmp") as folder:
        data, sockets = Path(folder, "data"), Path(folder, "s")
        sockets.mkdir()
        if user is not None:
            entry = pwd.getpwnam(user)
            for place in (Path(folder), sockets):
                os.chown(place, entry.pw_uid, entry.pw_gid)
        options = ["--username=berth", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run(
            [binaries / "initdb", *options, "--locale=C", f"--pgdata={data}"],
            check=True, capture_output=True, user=user, cwd=folder, timeout=120,
        )  # fmt: skip
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(binaries / "postgres", "-D", data, "-k", sockets),
                    *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"),
                ],
                stdout=output, stderr=output, user=user, cwd=folder,
            )  # fmt: skip
        try:
            server = PostgresServer(sockets)
            deadline = time.monotonic() + 60
            while not server.answers():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # "fast": ends sessions and stops
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
