"""The few ways in which a request can fail. One table in the server maps them to HTTP."""

from __future__ import annotations


class ServingError(Exception):
    """Base of the closed set below; the message is a sentence for the client."""


class InvalidRequest(ServingError):
    """The client's fault. `field` is the name of the offending field as the client wrote it."""

    def __init__(self, message: str, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.code = code  # e.g. "context_length_exceeded"


class UnsafePrompt(InvalidRequest):
    """A message holds one of the template's own tags ("[INST]", "<<SYS>>"…)."""


class ModelNotFound(ServingError):
    """The request names a model that is not served here."""


class Overloaded(ServingError):
    """The queue is full. `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ServingError):
    """Not ready yet, draining, or between two engines. `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TimedOut(ServingError):
    """The request ran past the server's limit and was cancelled."""


class EngineFailed(ServingError):
    """The engine could not serve this request (it died with it more than once, say)."""
