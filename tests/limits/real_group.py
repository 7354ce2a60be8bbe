"""A control group of the kernel's own, where this process may make one: as root, on a writable
mount. Elsewhere (most containers) the test is skipped and says so.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from berth.limits.cgroups import groups


class RealGroup:
    """An empty group with limits."""

    def __init__(self, folder: Path, version: int) -> None:
        self.folder = folder
        self.version = version

    def command(self, *argv: str) -> Sequence[str]:
        """A command line that runs `argv` inside."""
        enter = f'echo $$ > "{self.folder}/cgroup.procs" && exec "$@"'
        return ["/bin/sh", "-c", enter, "sh", *argv]

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


@contextlib.contextmanager
def cpu_group(cpus: float) -> Iterator[RealGroup]:
    """With so many CPUs' worth of time."""
    with _group("cpu") as group:
        quota = str(int(cpus * 100_000))
        if group.version == 2:
            (group.folder / "cpu.max").write_text(f"{quota} 100000")
        else:
            (group.folder / "cpu.cfs_period_us").write_text("100000")
            (group.folder / "cpu.cfs_quota_us").write_text(quota)
        yield group


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[RealGroup]:
    """With so many bytes, and no swap."""
    with _group("memory") as group:
        if group.version == 2:
            (group.folder / "memory.max").write_text(str(limit))
            with contextlib.suppress(OSError):  # a kernel without swap
                (group.folder / "memory.swap.max").write_text("0")
        else:
            (group.folder / "memory.limit_in_bytes").write_text(str(limit))
        yield group


@contextlib.contextmanager
def _group(controller: str) -> Iterator[RealGroup]:
    above = next(iter(groups(controller)), None)
    if above is None:
        pytest.skip(f"no control group for {controller} is mounted")
    folder = Path(above.folder) / f"berth-test-{secrets.token_hex(4)}"
    try:
        if above.version == 2:
            (folder.parent / "cgroup.subtree_control").write_text(f"+{controller}")
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made for {controller}: {error}")
    try:
        yield RealGroup(folder, above.version)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Its processes have been killed; the kernel may still be burying them."""
    deadline = time.monotonic() + 10
    while True:
        try:
            os.rmdir(folder)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
