"""SIGTERM ends a command in good order from its first millisecond on, also as a container's first
process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SERVE = [sys.executable, "-m", "berth", "serve", "--port", "0"]


def catches_sigterm(pid: int) -> bool:
    """Whether the process has said what SIGTERM means to it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def wait_until_it_catches(pid: int) -> None:
    deadline = time.monotonic() + 60
    while not catches_sigterm(pid):
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def test_what_a_signal_means_is_said_before_anything_slow_is_imported() -> None:
    slow = "'click', 'msgspec', 'rich', 'asyncio', 'yaml'"
    probe = f"import sys, berth.cli.entry; print([m for m in ({slow}) if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_a_server_that_is_told_to_go_while_it_starts_ends_with_0(delay: float) -> None:
    process = subprocess.Popen(
        SERVE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until_it_catches(process.pid)
    time.sleep(delay)  # somewhere in its imports
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_any_other_command_ends_as_by_the_signal() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "berth", "fit", "llama-2-7b"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until_it_catches(process.pid)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in said


def own_namespace() -> list[str]:
    """The command that runs another as process 1 of a PID namespace; skips where there is none."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("util-linux' unshare is not installed")
    for rights in ([], ["--user", "--map-root-user"]):
        command = [unshare, *rights, "--pid", "--fork", "--kill-child"]
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    pytest.skip("this user may not make a PID namespace")


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_as_process_1_the_server_hears_sigterm_while_it_starts() -> None:
    outer = subprocess.Popen(
        [*own_namespace(), *SERVE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (inner := children(outer.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        wait_until_it_catches(inner[0])
        os.kill(inner[0], signal.SIGTERM)
        _, said = outer.communicate(timeout=60)
    finally:
        outer.kill()
        outer.wait()
    assert outer.returncode == 0, said
    assert "Traceback" not in said
