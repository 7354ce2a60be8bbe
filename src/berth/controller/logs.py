"""The controller's log lines: text, or one JSON object each. No object's content, and no token."""

from __future__ import annotations

import json
import logging
import time
from typing import Literal


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry)


_SELDOM = 30.0  # seconds between two lines of kopf's about a request that it tries again


class _Seldom(logging.Filter):
    """While the API server is away, every watch tries again each second and says so."""

    def __init__(self) -> None:
        super().__init__()
        self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("kopf") or "; will retry: " not in record.getMessage():
            return True
        if record.created - self._last < _SELDOM:
            return False
        self._last = record.created
        return True


def configure_logging(log_format: Literal["text", "json"], level: int) -> None:
    """Send every logger's lines to standard error. For the process's entry point."""
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if log_format == "json" else text)
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # kopf tells of every watch that starts or stops, and urllib3 of every lost connection.
    for chatty in ("kopf", "urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    # That it does not handle signals: ours do.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
