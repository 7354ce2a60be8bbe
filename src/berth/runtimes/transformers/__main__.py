"""`python -m berth.runtimes.transformers --config JSON`: one process, started by the server."""

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
    parser = argparse.ArgumentParser(prog="python -m berth.runtimes.transformers")
    parser.add_argument("--config", required=True, help="EngineConfig as JSON")
    config = msgspec.json.decode(parser.parse_args().config, type=EngineConfig)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    # The server decides when an engine ends; a Ctrl-C in its terminal reaches us as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The model is a folder: nothing here may ask the network, whatever a configuration names.
    os.environ["HF_HUB_OFFLINE"] = "1"
    link = Link.connect(config.socket, 0, config.heartbeat_seconds)
    try:
        from berth.runtimes.transformers import worker  # slow: once the supervisor can see us

        worker.run(config, link)
    except Exception as error:
        link.send(Fatal(0, _reason(error), retry=not _is_final(error)))
        logging.exception("the engine cannot go on")
        exit_now(1)
    exit_now(0)
    return 0


def exit_now(code: int) -> None:
    """End this process without waiting for threads."""
    logging.shutdown()
    os._exit(code)


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return (
            f"the transformers engine lacks a package ({error}); "
            "install it with pip install 'berth[transformers]'"
        )
    return f"{type(error).__name__}: {error}"


def _is_final(error: Exception) -> bool:
    """Whether a fresh process would fail the same way: the folder, the packages, the memory."""
    from berth.runtimes.transformers.cache_size import DoesNotFit

    # transformers says OSError of a folder that lacks a file.
    return isinstance(error, ImportError | OSError | ValueError | DoesNotFit)


if __name__ == "__main__":
    sys.exit(main())
