"""`berth controller` as a process of this machine, for whatever API server a kubeconfig names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Process:
    def __init__(self, log: Path) -> None:
        self._log = log

    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def controller(kubeconfig: Path, tmp: Path, *options: str) -> Iterator[Process]:
    """Ends it in order; fails the test where it ended by itself or did not end well."""
    log = tmp / "controller.log"
    command = [
        *(sys.executable, "-m", "berth.cli.main", "controller"),
        *(f"--kubeconfig={kubeconfig}", "--host=127.0.0.1", "--port=0", "--resync=10"),
        *options,
    ]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=dict(os.environ))
    try:
        yield Process(log)
        assert process.poll() is None, f"it ended by itself:\n{log.read_text()}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    assert process.returncode == 0, log.read_text()
