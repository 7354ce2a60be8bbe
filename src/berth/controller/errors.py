"""What can go wrong between the controller and the API server: a closed set, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """A request that the API server did not carry out, or that it never answered.

    `soon`: worth another try after reading again, rather than after a long wait.
    `over`: the server cannot be used at present; the rest of the plan is left for later.
    """

    soon = False
    over = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds that the server asked for


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
    # An eviction or a webhook may also answer 5xx with the seconds to wait.
    seconds = retry_after if retry_after is not None else details.get("retryAfterSeconds")
    kind = _BY_STATUS.get(code, Unavailable if code >= 500 else Invalid)
    return kind(message, retry_after=None if seconds is None else float(seconds))
