"""`python -m berth.runtimes.transformers --config JSON`: one process, started by the server."""

from __future__ import annotations

import os

from berth.engine.process import Start, run_rank


def _load() -> Start:
    # The model is a folder: nothing here may ask the network, whatever a configuration names.
    os.environ["HF_HUB_OFFLINE"] = "1"
    from berth.runtimes.transformers import worker  # torch, transformers

    return worker.start


if __name__ == "__main__":
    run_rank("berth.runtimes.transformers", "transformers", _load)
