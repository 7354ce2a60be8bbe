"""What the core needs of the world: an API server and a clock. Anything may stand behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from berth.controller.kinds import Kind, Object


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one moment."""

    items: Sequence[Object]
    resource_version: int


class Api(Protocol):
    """One request each. Every method raises an ApiError; none tries twice.

    After Timeout or Unavailable a write may have happened. `namespace` is None for kinds without
    one, and in `list` for all namespaces.
    """

    async def list(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Listing:
        """All objects, or those with all of `labels`."""
        ...

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object: ...

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        """Whether it is there; of its content nothing is read."""
        ...

    async def has(self, kind: Kind) -> bool:
        """Whether the cluster serves this kind."""
        ...

    async def warnings(self, namespace: str, selector: str = "") -> Sequence[Object]:
        """Events of type Warning in a namespace; `selector`: a further field selector."""
        ...

    async def apply(self, kind: Kind, obj: Object) -> Object:
        """Server-side apply under FIELD_OWNER, without force. Answers the object."""
        ...

    async def create(self, kind: Kind, obj: Object) -> Object: ...

    async def replace(self, kind: Kind, obj: Object) -> Object:
        """PUT: only if it still has metadata.resourceVersion."""
        ...

    async def replace_status(self, kind: Kind, obj: Object) -> Object:
        """PUT of the status subresource: only if it still has metadata.resourceVersion."""
        ...

    async def merge(
        self, kind: Kind, namespace: str | None, name: str, patch: Mapping[str, Any]
    ) -> Object:
        """JSON merge patch; with metadata.resourceVersion in it, only if it still has that."""
        ...

    async def delete(self, kind: Kind, namespace: str | None, name: str, uid: str) -> Object | None:
        """Only the object with that uid. Answers it if finalizers keep it, None if it is gone."""
        ...


class Clock(Protocol):
    """Wall time for what is written, monotonic time for what is waited for."""

    def now(self) -> datetime:
        """Aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds; only differences mean something."""
        ...
