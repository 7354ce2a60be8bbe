"""What an engine marks as begun is known after its death, and of no other request."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from berth.protocol.begun import Begun

ENGINE = """
import os, sys
from berth.protocol.begun import Begun
begun = Begun.open(sys.argv[1])
begun.mark(7)
begun.mark(70_000)
os.kill(os.getpid(), 9)
"""


def test_marks_outlive_the_engine_that_is_killed(tmp_path: Path) -> None:
    socket = str(tmp_path / "engine.sock")
    begun = Begun.create(socket)
    for request in (7, 8, 70_000):
        begun.clear(request)
    done = subprocess.run([sys.executable, "-c", ENGINE, socket], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [begun.has(request) for request in (7, 8, 70_000)] == [True, False, True]
    begun.clear(7)  # it is sent again
    assert not begun.has(7)
    Begun.remove(socket)
    assert list(tmp_path.iterdir()) == []
    Begun.remove(socket)


def test_an_engine_without_a_server_marks_for_nobody(tmp_path: Path) -> None:
    begun = Begun.open(str(tmp_path / "none"))
    begun.mark(1)
    assert begun.has(1)
    assert list(tmp_path.iterdir()) == []
