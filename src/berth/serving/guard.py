"""Becomes another program that the kernel signals when our parent dies (Linux only).

    python -I -S guard.py PARENT_PID SIGNAL PROGRAM ARGUMENT...

A small program of its own, and not a function run between fork and exec: in a server with threads
that may deadlock. Imports nothing of this package.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, number, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the kernel knew our wish
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
