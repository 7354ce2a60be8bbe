"""Whether the API server can be reached, judged by its answers: when it was lost, when it is back.

An API server that starts answers before its authorizer has read its roles: the first requests get
403 for what is granted. So a 403 that follows a lost connection or a server error is not believed
at once. Pure: the time is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from berth.controller.errors import (
    ApiError,
    NotAllowed,
    NotYetAuthorized,
    Timeout,
    Unavailable,
)

GRACE = 30.0  # seconds for which a 403 is not believed after the server could not be used
_OUTAGE = 3.0  # seconds without any success that make it an outage, and not one bad answer

Target = tuple[str, ...]  # what a right is given for: verb, resource, namespace


@dataclass(slots=True)
class Reach:
    """What the answers of one API server say of it. All times are of one monotonic clock."""

    _failed: float | None = None  # the last failure; None: there was none yet
    _since: float | None = None  # the first failure after the last success; None: it answers
    _denied: dict[Target, float] = field(default_factory=dict)  # since when, without a success

    def judge(self, error: ApiError, target: Target, now: float, *, write: bool) -> ApiError:
        """The error to act on: a 403 may be one that soon passes."""
        if isinstance(error, Timeout | Unavailable):
            # A 500 of a write may be of that object alone: a webhook that fails.
            if not (write and error.status == 500):
                self._since = now if self._since is None else self._since
            self._failed = now
            return error
        if not isinstance(error, NotAllowed):
            return error
        since = self._denied.get(target)
        if since is None:
            if self._failed is None or now - self._failed > GRACE:
                return error
            since = self._denied[target] = now
        if now - since > GRACE:
            return error
        return NotYetAuthorized(error.said, retry_after=1.0)

    def succeeded(self, target: Target, now: float) -> bool:
        """Note an answer. Whether it is the first one after an outage."""
        self._denied.pop(target, None)
        since, self._since = self._since, None
        return since is not None and now - since >= _OUTAGE
