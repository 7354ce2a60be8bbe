"""`python -m berth.engines.native --config JSON`: one rank.

Started by the server, alone or by torchrun.
"""

from __future__ import annotations

import os

from berth.engines.host.main import Start, run_rank


def _load() -> Start:
    # How long a thread spins while it waits for the others (libgomp reads this when torch is
    # imported). The default is milliseconds: if other processes want the cores too, a step then
    # takes ten times as long. This costs 2 % if they do not.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    from berth.engines.native import worker  # torch

    return worker.start


if __name__ == "__main__":
    run_rank("native", _load)
