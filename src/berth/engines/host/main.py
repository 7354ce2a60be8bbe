"""One rank's process, whichever engine it runs: connect, work, and say why it ends.

How it ends is the same for every engine:

- The server sent Shutdown, or is gone: exit code 0.
- It cannot go on: one Fatal with one sentence to the server, exit code 1. If a fresh process
  would fail the same way (`is_final`), the sentence is all: the owner has to mend something, and a
  traceback says nothing about what. Otherwise the traceback goes to the log as well.

Ranks that torchrun started wait after a Fatal for the server to end their group, which takes a
tenth of a second: torchrun would print a page about the rank that ended first.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import msgspec

from berth.engines.host.link import Link
from berth.protocol.config import EngineConfig
from berth.protocol.engines import ENGINES, EngineKind
from berth.protocol.messages import Fatal

log = logging.getLogger(__name__)

# Loads the model, and returns a function that serves until Shutdown.
Start = Callable[[EngineConfig, Link], Callable[[], None]]

_PATIENCE = 2.0  # seconds that a rank waits for the server to end its group
# What an operating system says of a path that is not there, or not ours: a fresh process hears the
# same. None is transformers' own, which says OSError of a folder that lacks a file.
_FINAL_ERRNOS = frozenset(
    {None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
)
_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


def run_rank(engine: EngineKind, load: Callable[[], Start]) -> NoReturn:
    """The whole of an engine's `__main__`. Never returns.

    Args:
        load: imports the engine; slow, so that the server should see us connected before.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {ENGINES[engine].module}")
    parser.add_argument("--config", required=True, help="EngineConfig as JSON")
    config = msgspec.json.decode(parser.parse_args().config, type=EngineConfig)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    # The server decides when an engine ends; a Ctrl-C in its terminal reaches us as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rank = int(os.environ.get("RANK", "0"))
    link = Link.connect(config.socket, rank, config.heartbeat_seconds)
    serving = False
    try:
        serve = load()(config, link)
        serving = True
        serve()
    except Exception as error:
        fatal = describe(error, rank, ENGINES[engine].extra, serving=serving)
        if fatal.retry and not _out_of_memory(error):
            log.exception("rank %d cannot go on", rank)
        link.send(fatal)
        if "TORCHELASTIC_RUN_ID" in os.environ:
            time.sleep(_PATIENCE)
        exit_now(1)
    exit_now(0)


def exit_now(code: int) -> NoReturn:
    """End this process without waiting for threads or collectives that may never return."""
    logging.shutdown()
    os._exit(code)


def describe(error: Exception, rank: int, extra: str, *, serving: bool) -> Fatal:
    """What the server receives about an error that ended a rank.

    Args:
        extra: of pyproject.toml, that installs what the engine imports.
        serving: whether the rank had started; the folder is then not the cause.
    """
    if _out_of_memory(error):
        return Fatal(rank, f"there is not enough memory: {_first_line(error)}", retry=True)
    if serving or not is_final(error):
        return Fatal(rank, f"{type(error).__name__}: {_first_line(error)}", retry=True)
    if isinstance(error, ModuleNotFoundError):
        reason = f"a package is not installed ({error}); pip install 'berth[{extra}]'"
        return Fatal(rank, reason, retry=False)
    return Fatal(rank, str(error).strip() or type(error).__name__, retry=False)


def is_final(error: Exception) -> bool:
    """Whether a fresh process would fail to start the same way: the folder, the numbers, the
    packages, the memory that the model takes of this machine.
    """
    from berth.checkpoint.errors import ConfigError
    from berth.fit.budget import CannotFit
    from berth.models.weights.source import WeightError

    if isinstance(error, OSError):
        return error.errno in _FINAL_ERRNOS
    return isinstance(error, ConfigError | WeightError | CannotFit | ImportError | ValueError)


def _out_of_memory(error: Exception) -> bool:
    """MemoryError, or what torch raises for it, which has a class of its own on GPUs alone."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in said for words in _NO_MEMORY)
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
