"""What can go wrong between the controller and the API server: a closed set, in one table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What the authorizer says; quotas, policies and webhooks have other words.
_NO_RIGHT = re.compile(r"""\bUser "[^"]*" cannot \w+ """)
_CURE = (
    " (RBAC does not give the controller this right: `helm upgrade` with this version's chart "
    "restores its roles; docs/controller.md, Rights, lists them)"
)


class ApiError(Exception):
    """A request that the API server did not carry out, or that it never answered.

    `soon`: worth another try after reading again, rather than after a long wait.
    `over`: the server cannot be used at present; the rest of the plan is left for later.
    """

    soon = False
    over = False
    again_within: float | None = None  # seconds in which it is expected to pass

    def __init__(
        self, message: str, *, retry_after: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds that the server asked for
        self.status = status  # of the HTTP answer; None: there was none


class NotFound(ApiError):
    """The object, its namespace or its kind is not there."""


class AlreadyExists(ApiError):
    """A create of what is there."""

    soon = True


class Conflict(ApiError):
    """The object has another resourceVersion or uid than the one that was read."""

    soon = True


class FieldConflict(ApiError):
    """Another manager owns a field that we would set. It is theirs: reported, not fought."""

    def __init__(self, message: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields  # (path, what the server says of its manager)


class Invalid(ApiError):
    """The object breaks the kind's schema or a policy of the cluster."""


class Forbidden(ApiError):
    """RBAC, a quota or an admission policy says no."""


class NotAllowed(Forbidden):
    """RBAC says no: the message has the cure, `said` only the authorizer's words."""

    def __init__(self, said: str) -> None:
        super().__init__(said + _CURE, status=403)
        self.said = said


class NamespaceGoing(Forbidden):
    """The namespace is being deleted: nothing can be made in it any more."""


class Unauthorized(ApiError):
    """The token is not accepted."""

    over = True


class Gone(ApiError):
    """A watch or a page of a list from a resourceVersion that the server has forgotten."""

    soon = True


class TooManyRequests(ApiError):
    """The server asks to be left alone for `retry_after` seconds."""

    over = True


class Timeout(ApiError):
    """No answer. A write may have been carried out or not."""

    over = True


class Unavailable(ApiError):
    """The server cannot be reached, or answers 5xx. A write may have been carried out or not."""

    over = True


class NotYetAuthorized(Unavailable):
    """403 of a server that has just come back: its authorizer may not have read the roles yet."""

    again_within = 1.5


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyRequests,
    504: Timeout,
}


def from_status(code: int, status: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """The typed error of an HTTP answer and its Status object (may be empty)."""
    message = str(status.get("message") or f"the API server answers {code}")
    details = status.get("details") or {}
    causes = details.get("causes") or ()
    if code == 409:
        if status.get("reason") == "AlreadyExists":
            return AlreadyExists(message)
        fields = tuple(
            (str(cause.get("field", "")), str(cause.get("message", "")))
            for cause in causes
            if cause.get("reason") == "FieldManagerConflict"
        )
        if fields:
            return FieldConflict(message, fields)
    if code == 403 and any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceGoing(message)
    if code == 403 and _NO_RIGHT.search(message):
        return NotAllowed(message)
    # An eviction or a webhook may also answer 5xx with the seconds to wait.
    seconds = retry_after if retry_after is not None else details.get("retryAfterSeconds")
    kind = _BY_STATUS.get(code, Unavailable if code >= 500 else Invalid)
    wait = None if seconds is None else float(seconds)
    return kind(message, retry_after=wait, status=code)
