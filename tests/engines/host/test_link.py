"""A rank says that it lives, by itself or by what it reports, and no more often than needed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.protocol.messages import FromEngine, Heartbeat, StepReport
from berth.protocol.wire import FrameReader, decode_from_engine

PERIOD = 0.05
REPORTS = 200  # over 20 periods
# A process of its own: a rank whose supervisor's socket closes ends at once.
RANK = f"""
import sys, time
from berth.engines.host.link import Link
from berth.protocol.messages import EngineStats, StepReport

link = Link.connect(sys.argv[1], 0, {PERIOD})
link.pulse.work, link.pulse.busy = 7, True
sys.stdin.readline()
for _ in range({REPORTS}):
    link.send(StepReport([], EngineStats()))
    time.sleep({PERIOD} / 10)
sys.stdin.readline()
"""


@pytest.fixture
def rank(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A rank that reports steps once it gets a line, and the supervisor's end of its socket."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(30)
        process = subprocess.Popen([sys.executable, "-c", RANK, path], stdin=subprocess.PIPE)
        connection, _ = listener.accept()
    with process, connection:
        connection.settimeout(30)
        yield process, connection
        connection.close()
        assert process.wait(30) == 0


def test_heartbeats_are_left_out_while_steps_are_reported(
    rank: tuple[subprocess.Popen[bytes], socket.socket],
) -> None:
    process, connection = rank
    reader = FrameReader()

    def received() -> list[FromEngine]:
        return [decode_from_engine(body) for body in reader.feed(connection.recv(1 << 16))]

    alone: list[FromEngine] = []
    while len(alone) < 5:
        alone += received()
    assert set(alone[1:]) == {Heartbeat(0, 7, True)}

    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    stepping: list[FromEngine] = []
    while sum(isinstance(message, StepReport) for message in stepping) < REPORTS:
        stepping += received()
    # 20 without reports. One where the rank stood still for a whole period, as it should be.
    assert len(stepping) - REPORTS <= 5

    assert isinstance(received()[-1], Heartbeat)
