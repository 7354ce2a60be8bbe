"""Every way to fail, mapped to HTTP in one table; each dialect gives an error its body.

An error is an exception: either one of serving's closed set, or one of the server's own below.
`row_of` looks it up in TABLE. Nothing that a client sends may end as a 5xx, and no message here
repeats a prompt or a key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from berth.serving.errors import (
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ServingError,
    TimedOut,
    Unavailable,
)

T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up: no answer can reach it. Never rendered."""


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
    """No Host header though one is required, more than one, or one that is not a host."""


class NoSuchRoute(Refusal):
    """No route has this path."""


class NoSuchMethod(Refusal):
    """The route exists, for other methods. `field` holds them, as for the Allow header."""


class Verbatim(InvalidRequest):
    """An invalid request whose sentence is part of KAITO's contract: no prefix before it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what HTTP and its clients get, whatever the dialect."""

    status: int
    # OpenAI's SDK repeats 408, 409, 429 and 5xx twice unless x-should-retry forbids it.
    retry: bool = True
    close: bool = False  # the rest of the request is not read: the connection must end


TABLE: dict[type[Exception], Row] = {
    InvalidRequest: Row(400),
    ModelNotFound: Row(404),
    Overloaded: Row(429),
    Unavailable: Row(503),
    TimedOut: Row(408, retry=False),
    EngineFailed: Row(500, retry=False),
    Malformed: Row(400),  # 422 in a dialect with FastAPI's shapes
    BodyTooLarge: Row(413, close=True),
    TooManyBodies: Row(429, close=True),
    BodyTooSlow: Row(408, close=True),
    UnknownEncoding: Row(415),
    Unauthorized: Row(401),
    Forbidden: Row(403),
    InvalidHost: Row(400),
    NoSuchRoute: Row(404),
    NoSuchMethod: Row(405),
}
_UNKNOWN = Row(500)
_UNKNOWN_MESSAGE = (
    "The server failed on this request. Its log names the reason under the id that the "
    "x-request-id header of this answer gives."
)


def row_of(error: BaseException) -> Row:
    """The table's line for this error; anything unknown is a server fault."""
    return looked_up(TABLE, error, _UNKNOWN)


def looked_up(table: Mapping[type[Exception], T], error: BaseException, unknown: T) -> T:
    """What a table says of the error's class or its nearest base."""
    for kind in type(error).__mro__:
        if kind in table:
            return table[kind]
    return unknown


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
    elif error.code == "context_length_exceeded":  # "60 in the messages", "length of the messages"
        message = message.replace(f" the {error.field}", f" the {name}")
    return InvalidRequest(message, name, error.code)


def error_headers(error: BaseException, row: Row) -> dict[str, str]:
    """What an error's answer says in its headers, whatever the dialect."""
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
