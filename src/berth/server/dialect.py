"""What a dialect is to the server: the routes it adds, how it writes errors, how it streams.

A route belongs to the dialect that added it, whatever its path looks like. `Front` notes in the
request's scope whose route it is going to, and a path that several dialects share notes whose
shape the body has; an error is then written as that dialect writes them. Health routes are no
dialect's. If there is no route, the dialect whose prefix the path has explains that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from berth.server.errors import Malformed, Row, error_headers, message_of, row_of
from berth.server.reply import encode

if TYPE_CHECKING:
    from berth.server.context import Server
    from berth.server.routes import Mount

_SCOPE_KEY = "berth.dialect"


@dataclass(frozen=True, slots=True)
class Framing:
    """How one message of a stream is separated from the next."""

    media_type: str
    before: bytes
    after: bytes

    def frame(self, message: bytes) -> bytes:
        """One message, ready to be sent."""
        return self.before + message + self.after


EVENTS = Framing("text/event-stream", b"data: ", b"\n\n")  # server-sent events
LINES = Framing("application/x-ndjson", b"", b"\n")  # a JSON object a line
TEXT = Framing("text/plain", b"", b"")  # the text alone


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as one dialect writes it: bytes are sent as plain text, anything else as JSON."""

    status: int
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialect:
    """One way to talk to the server."""

    name: str  # the tag of its routes in the documentation
    mount: Callable[[Mount, Server], None]
    error: Callable[[BaseException, Row], ErrorAnswer]
    # The shape of an error's body by its status; None is that of every other status.
    error_shapes: Mapping[int | None, type[msgspec.Struct]]
    framing: Framing = EVENTS
    # Statuses, beside those of every route, that its routes with a body may answer.
    statuses: tuple[int, ...] = ()
    # Paths below it that no route has are explained by this dialect.
    prefix: str | None = None


class Detail(msgspec.Struct, frozen=True):
    """Why a request failed."""

    detail: str


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field, as FastAPI writes it."""

    type: str
    loc: list[str | int]
    msg: str


class ValidationErrors(msgspec.Struct, frozen=True):
    """The body is not of the route's shape."""

    detail: list[FieldError]


def plain_error(error: BaseException, row: Row) -> ErrorAnswer:
    """FastAPI's shapes, which is what belongs to no dialect answers in."""
    if isinstance(error, Malformed):
        entry = {"type": error.kind, "loc": ["body", *error.location], "msg": message_of(error)}
        return ErrorAnswer(422, {"detail": [entry]})
    return ErrorAnswer(row.status, {"detail": message_of(error)})


def _nothing(_: Mount, __: Server) -> None:
    """Health routes are mounted by the app itself."""


# What health routes, pages and unknown paths answer errors in.
PLAIN = Dialect(
    name="health",
    mount=_nothing,
    error=plain_error,
    error_shapes={422: ValidationErrors, None: Detail},
)


def speak(scope: Scope, dialect: Dialect) -> None:
    """Answer the request of this scope in `dialect` from now on."""
    scope[_SCOPE_KEY] = dialect


def dialect_of(scope: Scope) -> Dialect:
    """The dialect that the request of this scope is answered in."""
    dialect = scope.get(_SCOPE_KEY, PLAIN)
    assert isinstance(dialect, Dialect)
    return dialect


def error_response(scope: Scope, error: BaseException) -> Response:
    """The HTTP answer for an error, in the dialect of the route."""
    row = row_of(error)
    answer = dialect_of(scope).error(error, row)
    headers = {**error_headers(error, row), **answer.headers}
    if isinstance(answer.body, bytes):
        return Response(answer.body, answer.status, headers, "text/plain")
    return Response(encode(answer.body), answer.status, headers, "application/json")
