"""KAITO's errors: FastAPI's shapes, with the images' own sentences."""

from __future__ import annotations

from berth.server.dialect import ErrorAnswer, plain_error
from berth.server.errors import Malformed, Refusal, Row, Verbatim, message_of
from berth.serving.errors import TimedOut


def detail(error: BaseException) -> str:
    """KAITO's sentence for an error of a model route: `Request Failed: …`, or its own."""
    if isinstance(error, TimedOut):
        return "Request Timed Out"
    if isinstance(error, Verbatim | Refusal):
        return message_of(error)
    return f"Request Failed: {message_of(error)}"


def answer(error: BaseException, row: Row) -> ErrorAnswer:
    """An error of one of KAITO's routes."""
    if isinstance(error, Malformed):
        return plain_error(error, row)
    return ErrorAnswer(row.status, {"detail": detail(error)})
