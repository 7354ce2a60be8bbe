"""`python -m berth.engine --config JSON`: one rank. Started by the server, alone or by torchrun."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys

import msgspec

from berth.engine.link import Link
from berth.protocol.config import EngineConfig
from berth.protocol.messages import Fatal


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m berth.engine", description=__doc__)
    parser.add_argument("--config", required=True, help="EngineConfig as JSON")
    config = msgspec.json.decode(parser.parse_args().config, type=EngineConfig)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    # The server decides when an engine ends; a Ctrl-C in its terminal reaches us as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rank = int(os.environ.get("RANK", "0"))
    link = Link.connect(config.socket, rank, config.heartbeat_seconds)
    # How long a thread spins while it waits for the others (libgomp reads this when torch is
    # imported). The default is milliseconds: where other processes want the cores too, a step then
    # takes ten times as long. This costs 2 % where they do not.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    from berth.engine import worker  # torch: only once the supervisor can see us starting

    try:
        worker.run(config, link)
    except Exception as error:
        if _is_final(error):
            # The owner's to mend: the sentence says all, and reaches the log by way of the
            # server. A code other than 0 would have torchrun print a page about it.
            link.send(Fatal(rank, str(error), retry=False))
            worker.exit_now(0)
        logging.exception("rank %d cannot go on", rank)
        link.send(Fatal(rank, f"{type(error).__name__}: {error}", retry=True))
        worker.exit_now(1)
    worker.exit_now(0)
    return 0


def _is_final(error: Exception) -> bool:
    """Whether a fresh process would fail the same way: the folder, the numbers, the memory."""
    from berth.fit.native import CannotFit
    from berth.models.config import ConfigError
    from berth.models.weights.source import WeightError

    return isinstance(error, ConfigError | WeightError | CannotFit | ValueError)


if __name__ == "__main__":
    sys.exit(main())
