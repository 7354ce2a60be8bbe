"""Log lines: one per request, text or JSON, and never a prompt, an answer or a key.

Exceptions are logged by their class and the places they passed through. Their messages stay out:
a message may quote what a client sent.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

import msgspec

from berth.server.context import RequestContext
from berth.server.settings import LogFormat

access = logging.getLogger("berth.access")
_PLACES = 8
failures = logging.getLogger("berth.server")


def log_access(context: RequestContext, route: str, quiet: bool) -> None:
    """The line of one request. `route` is a route's template, never the path as it was sent.

    Probes are `quiet`: they come every few seconds and are shown at debug level only.
    """
    level = logging.DEBUG if quiet else logging.INFO
    if not access.isEnabledFor(level):
        return
    now = time.perf_counter()
    fields: dict[str, Any] = {
        "request_id": context.request_id,
        "method": context.method,
        "route": route,
        "status": context.status,
        "milliseconds": round((now - context.started) * 1000, 1),
    }
    if context.prompt_tokens:
        fields["prompt_tokens"] = context.prompt_tokens
        fields["output_tokens"] = context.output_tokens
    if context.first_token is not None:
        fields["first_token_milliseconds"] = round(
            (context.first_token - context.started) * 1000, 1
        )
    access.log(level, "request", extra={"fields": fields})


def log_failure(context: RequestContext, error: BaseException) -> None:
    """Why a request ended as a server fault: the exception's class and path, not its message."""
    fields = {
        "request_id": context.request_id,
        "error": type(error).__name__,
        "at": _places(error.__traceback__),
    }
    failures.error("request failed", extra={"fields": fields})


def _places(trace: TracebackType | None) -> list[str]:
    """The last places that an exception passed through."""
    frames = traceback.extract_tb(trace)[-_PLACES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


class _TextFormatter(logging.Formatter):
    """`time level message key=value …`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        line = super().format(record)
        return " ".join([line, *(f"{name}={value}" for name, value in fields.items())])

    def formatException(self, ei: Any) -> str:
        """Of an exception that any library logs: its class and places too."""
        kind, _, trace = ei
        return f"{getattr(kind, '__name__', 'no exception')} at {', '.join(_places(trace))}"


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = record.exc_info[0].__name__
            entry["at"] = _places(record.exc_info[2])
        return msgspec.json.encode(entry).decode()


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at that moment: a progress bar moves aside for a line.

    A handler that keeps the stream it was made with would write into the bar.
    """

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """Nothing is kept."""


def configure_logging(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send every logger's lines to standard error in one format. For the process's entry point."""
    handler = _StandardError()
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Ours alone: what libraries tell of their work may hold whole URLs, with signed queries in
    # them (httpx, and what huggingface_hub uses in its place), or repeats ours (uvicorn's lines).
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("berth").setLevel(level)
    for one in ("uvicorn", "uvicorn.access", "uvicorn.error"):  # uvicorn itself sets their levels
        logging.getLogger(one).setLevel(max(level, logging.WARNING))
