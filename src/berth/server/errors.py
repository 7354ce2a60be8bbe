"""Every way to fail, mapped to HTTP in one table, and written as each dialect writes errors.

An error is an exception: either one of serving's closed set, or one of the server's own below.
`fault_of` looks it up in TABLE; a renderer per dialect gives it its body. Nothing that a client
sends may end as a 5xx, and no message here repeats a prompt or a key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from berth.server.reply import json_response
from berth.serving.errors import (
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ServingError,
    TimedOut,
    Unavailable,
)


class ClientGone(Exception):
    """The client hung up: nobody is left to answer. Never rendered."""


class Refusal(Exception):
    """Base of what the server itself refuses, before serving sees it."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Malformed(Refusal):
    """The body is not JSON, or not of the route's shape. `location` leads to the culprit."""

    def __init__(
        self, message: str, location: tuple[str | int, ...] = (), kind: str = "value_error"
    ) -> None:
        super().__init__(message, dotted(location) or None)
        self.location = location
        self.kind = kind  # FastAPI's `type` of an error-list entry


class BodyTooLarge(Refusal):
    """More bytes than the server takes."""


class TooManyBodies(Overloaded):
    """As many bytes of bodies are being read as the server takes at one time."""


class BodyTooSlow(Refusal):
    """The client did not send its body in time."""


class UnknownEncoding(Refusal):
    """The body's Content-Encoding is not one that the server unpacks."""


class Unauthorized(Refusal):
    """No key, or a wrong one."""


class Forbidden(Refusal):
    """Not from here, or not by a browser page of another site."""


class InvalidHost(Refusal):
    """No Host header where one must be, more than one, or one that is no host."""


class NoSuchRoute(Refusal):
    """No route has this path."""


class NoSuchMethod(Refusal):
    """The route exists, for other methods. `field` holds them, as for the Allow header."""


class Verbatim(InvalidRequest):
    """An invalid request whose sentence is part of KAITO's contract: no prefix before it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the status, and OpenAI's `type` and `code` for it."""

    status: int
    type: str
    code: str | None = None
    # OpenAI's SDK repeats 408, 409, 429 and 5xx twice unless told not to.
    retry: bool = True
    close: bool = False  # the rest of the request is not read: the connection must end


_INVALID = "invalid_request_error"
TABLE: dict[type[Exception], Row] = {
    InvalidRequest: Row(400, _INVALID),
    ModelNotFound: Row(404, _INVALID, "model_not_found"),
    Overloaded: Row(429, "rate_limit_error", "rate_limit_exceeded"),
    Unavailable: Row(503, "service_unavailable_error", "service_unavailable"),
    TimedOut: Row(408, "timeout_error", "timeout", retry=False),
    EngineFailed: Row(500, "server_error", "engine_failed", retry=False),
    Malformed: Row(400, _INVALID),  # 422 in KAITO's dialect, as FastAPI has it
    BodyTooLarge: Row(413, _INVALID, "request_too_large", close=True),
    TooManyBodies: Row(429, "rate_limit_error", "rate_limit_exceeded", close=True),
    BodyTooSlow: Row(408, "timeout_error", "timeout", close=True),
    UnknownEncoding: Row(415, _INVALID, "unsupported_content_encoding"),
    Unauthorized: Row(401, _INVALID, "invalid_api_key"),
    Forbidden: Row(403, "permission_error", "forbidden"),
    InvalidHost: Row(400, _INVALID, "invalid_host"),
    NoSuchRoute: Row(404, _INVALID, "not_found"),
    NoSuchMethod: Row(405, _INVALID, "method_not_allowed"),
}
_UNKNOWN = Row(500, "server_error", "internal_error")
_UNKNOWN_MESSAGE = (
    "The server failed on this request. Its log names the reason under the id that the "
    "x-request-id header of this answer gives."
)


def row_of(error: BaseException) -> Row:
    """The table's line for this error; anything unknown is a server fault."""
    for kind in type(error).__mro__:
        row = TABLE.get(kind)
        if row is not None:
            return row
    return _UNKNOWN


def message_of(error: BaseException) -> str:
    """The sentence for the client. An exception outside the closed sets stays unspoken."""
    if isinstance(error, ServingError | Refusal):
        return str(error)
    return _UNKNOWN_MESSAGE


def dotted(location: tuple[str | int, ...]) -> str:
    """("messages", 0, "role") as a client would write it: messages[0].role."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def renamed(error: InvalidRequest, names: Mapping[str, str]) -> InvalidRequest:
    """An error of serving, with its field as a dialect's clients write it (serving's to theirs)."""
    if error.field is None or error.field not in names:
        return error
    name, message = names[error.field], str(error)
    if message.startswith(error.field):
        message = name + message.removeprefix(error.field)
    return InvalidRequest(message, name, error.code)


def _headers(error: BaseException, row: Row) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, Overloaded | Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if row.status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, NoSuchMethod) and error.field:
        headers["allow"] = error.field
    if row.status == 415:
        headers["accept-encoding"] = "gzip, deflate"
    if row.close:
        headers["connection"] = "close"
    if not row.retry:
        headers["x-should-retry"] = "false"
    return headers


def openai_error(error: BaseException) -> dict[str, Any]:
    """OpenAI's envelope; also what a stream sends when it breaks in the middle."""
    row = row_of(error)
    field = error.field if isinstance(error, InvalidRequest | Malformed) else None
    code = error.code if isinstance(error, InvalidRequest) and error.code else row.code
    if isinstance(error, ModelNotFound):
        field = "model"
    return {
        "error": {
            "message": message_of(error),
            "type": row.type,
            "param": field,
            "code": code,
        }
    }


def kaito_detail(error: BaseException) -> str:
    """KAITO's sentence for an error of a model route: `Request Failed: …`, or its own."""
    if isinstance(error, TimedOut):
        return "Request Timed Out"
    if isinstance(error, Verbatim | Refusal):
        return message_of(error)
    return f"Request Failed: {message_of(error)}"


def _render_openai(error: BaseException, row: Row) -> tuple[int, object]:
    return row.status, openai_error(error)


def _render_detail(error: BaseException, row: Row) -> tuple[int, object]:
    if isinstance(error, Malformed):
        entry = {
            "type": error.kind,
            "loc": ["body", *error.location],
            "msg": message_of(error),
        }
        return 422, {"detail": [entry]}
    return row.status, {"detail": message_of(error)}


def _render_kaito(error: BaseException, row: Row) -> tuple[int, object]:
    if isinstance(error, Malformed):
        return _render_detail(error, row)
    return row.status, {"detail": kaito_detail(error)}


def _renderer(path: str) -> Callable[[BaseException, Row], tuple[int, object]]:
    # The dialect of an error is the dialect of the path, also where no route matched.
    if path == "/v1" or path.startswith("/v1/"):
        return _render_openai
    if path in ("/generate", "/chat"):
        return _render_kaito
    return _render_detail


def error_response(path: str, error: BaseException) -> Response:
    """The HTTP answer for an error at `path`, in that path's dialect."""
    row = row_of(error)
    status, body = _renderer(path)(error, row)
    return json_response(body, status, _headers(error, row))
