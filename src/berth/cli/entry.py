"""The first steps of the `berth` program: what a signal means before anything slow is imported.

The first process of a container gets no signal whose action is the default one: until a program
there has said what SIGTERM means, the kernel drops it. So that is said first, in a millisecond; the
rest of the command line takes a second to import.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        from berth.cli.main import main as command
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    command()


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM, until `berth serve` listens (or the controller runs) and takes it over."""
    if sys.argv[1:2] == ["serve"]:
        # As when it is ended later: in good order. Nothing has been begun that would have to
        # be ended, and an exception might be caught by whatever is being imported.
        os._exit(0)
    sys.exit(128 + number)
