"""What an engine's output says of its end: the last line of its own, and torchrun's first finding.

torchrun prints a page of some forty lines about a rank that failed. One of them has the exit code;
the others say what the server knows, or nothing. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FAILED = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+) \(pid: (\d+)\)")
_TORCHRUN = re.compile(r"[IWE]\d{4} .* torch/distributed/")
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True, slots=True)
class FailedRank:
    """The rank that torchrun saw to fail first."""

    local_rank: int
    pid: int
    code: int  # negative if a signal ended it


class LastWords:
    """Takes the lines of an engine and its torchrun as they come."""

    def __init__(self) -> None:
        self.line = ""  # the last of the engine's own
        self.failed: FailedRank | None = None

    def take(self, line: str) -> bool:
        """Whether the line is worth a log: False for torchrun's page about what `failed` says."""
        if self.failed is not None:
            return False
        if match := _FAILED.search(line):
            code, local_rank, pid = map(int, match.groups())
            self.failed = FailedRank(local_rank, pid, code)
        elif not _TORCHRUN.match(line) and line.strip() != _TRACEBACK:
            self.line = line.strip()
        return True
