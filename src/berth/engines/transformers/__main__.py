"""`python -m berth.engines.transformers --config JSON`: one process, started by the server."""

from __future__ import annotations

import os

from berth.engines.host.main import Start, run_rank


def _load() -> Start:
    # The model is a folder: nothing here may ask the network, whatever a configuration names.
    os.environ["HF_HUB_OFFLINE"] = "1"
    from berth.engines.transformers import worker  # torch, transformers

    return worker.start


if __name__ == "__main__":
    run_rank("transformers", _load)
