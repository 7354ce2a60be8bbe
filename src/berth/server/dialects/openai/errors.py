"""OpenAI's errors: one envelope, with a type and a code for each way to fail."""

from __future__ import annotations

from typing import Any

import msgspec

from berth.server.dialect import ErrorAnswer
from berth.server.errors import (
    BodyTooLarge,
    BodyTooSlow,
    Forbidden,
    InvalidHost,
    Malformed,
    NoSuchMethod,
    NoSuchRoute,
    Row,
    Unauthorized,
    UnknownEncoding,
    looked_up,
    message_of,
)
from berth.serving.errors import (
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    TimedOut,
    Unavailable,
)

_INVALID = "invalid_request_error"
# OpenAI's `type` and `code`.
_WORDS: dict[type[Exception], tuple[str, str | None]] = {
    InvalidRequest: (_INVALID, None),
    ModelNotFound: (_INVALID, "model_not_found"),
    Overloaded: ("rate_limit_error", "rate_limit_exceeded"),
    Unavailable: ("service_unavailable_error", "service_unavailable"),
    TimedOut: ("timeout_error", "timeout"),
    EngineFailed: ("server_error", "engine_failed"),
    Malformed: (_INVALID, None),
    BodyTooLarge: (_INVALID, "request_too_large"),
    BodyTooSlow: ("timeout_error", "timeout"),
    UnknownEncoding: (_INVALID, "unsupported_content_encoding"),
    Unauthorized: (_INVALID, "invalid_api_key"),
    Forbidden: ("permission_error", "forbidden"),
    InvalidHost: (_INVALID, "invalid_host"),
    NoSuchRoute: (_INVALID, "not_found"),
    NoSuchMethod: (_INVALID, "method_not_allowed"),
}
_UNKNOWN = ("server_error", "internal_error")


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """OpenAI's error answer."""

    error: ErrorBody


def envelope(error: BaseException) -> dict[str, Any]:
    """OpenAI's envelope; also what a stream sends when it breaks in the middle."""
    kind, code = looked_up(_WORDS, error, _UNKNOWN)
    field = error.field if isinstance(error, InvalidRequest | Malformed) else None
    if isinstance(error, InvalidRequest) and error.code:
        code = error.code
    if isinstance(error, ModelNotFound):
        field = "model"
    return {"error": {"message": message_of(error), "type": kind, "param": field, "code": code}}


def answer(error: BaseException, row: Row) -> ErrorAnswer:
    """An error of one of OpenAI's routes."""
    return ErrorAnswer(row.status, envelope(error))
