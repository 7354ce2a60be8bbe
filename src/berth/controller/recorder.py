"""Events on Workspaces, without spam: one object for each thing that is said, counted up.

An event's name follows from what it says, so that a controller that was restarted, or that never
learned whether its request arrived, does not say it twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from berth.controller.errors import AlreadyExists
from berth.controller.kinds import EVENT, Object, meta, uid
from berth.controller.ports import Api, Clock
from berth.workspace.actions import Emit

COMPONENT = "berth-controller"
_LONGEST = 1024  # characters of a message: the API server's limit
_QUIET = timedelta(minutes=10)  # before the same thing is counted again
_BURST = 25  # events on one Workspace
_REFILL = timedelta(minutes=5)  # for one more


class Recorder:
    """Says things about Workspaces through the API server."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._tokens: dict[str, tuple[float, datetime]] = {}  # by uid of the Workspace

    async def emit(self, workspace: Object, event: Emit) -> bool:
        """Whether something was written. Raises ApiError."""
        now = self._clock.now()
        if not self._spend(uid(workspace), now):
            return False
        body = _event(workspace, event, now)
        try:
            await self._api.create(EVENT, body)
        except AlreadyExists:
            return await self._count_up(body, now)
        return True

    async def _count_up(self, body: Mapping[str, object], now: datetime) -> bool:
        namespace, name = meta(body)["namespace"], meta(body)["name"]
        said = await self._api.get(EVENT, namespace, name)
        last = datetime.fromisoformat(said["lastTimestamp"])
        if now - last < _QUIET:
            return False
        patch = {"count": int(said.get("count", 1)) + 1, "lastTimestamp": _stamp(now)}
        await self._api.merge(EVENT, namespace, name, patch)
        return True

    def _spend(self, workspace: str, now: datetime) -> bool:
        tokens, filled = self._tokens.get(workspace, (float(_BURST), now))
        tokens = min(float(_BURST), tokens + (now - filled) / _REFILL)
        allowed = tokens >= 1
        self._tokens[workspace] = (tokens - allowed, now)
        return allowed

    def forget(self, workspace: str) -> None:
        self._tokens.pop(workspace, None)


def _event(workspace: Object, event: Emit, now: datetime) -> dict[str, object]:
    m = meta(workspace)
    said = "\0".join((uid(workspace), event.type, event.reason, event.message))
    suffix = hashlib.sha256(said.encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"namespace": m["namespace"], "name": f"{m['name'][:200]}.{suffix}"},
        "involvedObject": {
            "apiVersion": workspace["apiVersion"],
            "kind": workspace["kind"],
            "namespace": m["namespace"],
            "name": m["name"],
            "uid": uid(workspace),
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:_LONGEST],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
        "firstTimestamp": _stamp(now),
        "lastTimestamp": _stamp(now),
        "count": 1,
    }


def _stamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
