"""The caller of a request: what its key lets it do. Noted by `auth`, asked by routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

from berth.server.errors import Forbidden

_SCOPE_KEY = "berth.caller"
_SHOWN = 100  # characters of a model's name in a message


@dataclass(frozen=True, slots=True)
class Caller:
    """A key without its secret. A server that asks for no key has no callers."""

    name: str
    admin: bool
    models: frozenset[str] | None = None  # by any name; None: all
    dialect: str | None = None  # whose answers it expects if the path does not decide it

    def may_use(self, names: Sequence[str]) -> bool:
        """Whether it may use the model that has these names."""
        return self.models is None or not self.models.isdisjoint(names)


OWNER = Caller("BERTH_API_KEY", admin=True)


def note_caller(scope: Scope, caller: Caller) -> None:
    """This request's key is `caller`."""
    scope[_SCOPE_KEY] = caller


def caller_of(scope: Scope) -> Caller | None:
    """Whose key the request has; None if the server asks for none."""
    caller = scope.get(_SCOPE_KEY)
    assert caller is None or isinstance(caller, Caller)
    return caller


def may_use(scope: Scope, names: Sequence[str]) -> bool:
    """Whether the caller may use the model that has these names."""
    caller = caller_of(scope)
    return caller is None or caller.may_use(names)


def check_model(scope: Scope, names: Sequence[str]) -> None:
    """Raises Forbidden if the caller may not use the model that has these names."""
    if not may_use(scope, names):
        raise Forbidden(
            f"This API key may not use the model {names[0][:_SHOWN]!r}. GET /v1/models lists those "
            "that it may."
        )
