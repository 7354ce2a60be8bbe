"""Which of several controllers may write: a Lease of coordination.k8s.io, as client-go keeps it.

A holder that could not renew for `renew` seconds stops writing, before another may take the lease
after `duration` seconds without news. Only monotonic time of one machine is compared: the clocks
of two machines need not agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from berth.controller.errors import AlreadyExists, Conflict, NotFound
from berth.controller.kinds import LEASE, Object, meta
from berth.controller.ports import Api, Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """Seconds."""

    duration: float = 8.0  # without news, until another may take it
    renew: float = 5.0  # without success, until the holder stops
    retry: float = 1.5  # between two looks

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew < self.duration:
            raise ValueError(
                "lease: retry, renew and duration should be seconds, each larger than the last"
            )


class Elector:
    """Takes the lease, keeps it and gives it back."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        identity: str,
        term: Term | None = None,
    ) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self.term = term or Term()
        self._renewed: float | None = None  # when our last success was begun; None: not ours
        self._seen: tuple[str, str, int] | None = None  # what another holds
        self._seen_at = 0.0

    def leads(self) -> bool:
        """Whether this one may write now. Asked before every write, so it asks no server."""
        held = self._renewed
        return held is not None and self._clock.monotonic() < held + self.term.renew

    async def look(self) -> None:
        """Renew, or take what is free. Raises ApiError; then nothing has been gained."""
        begun = self._clock.monotonic()
        try:
            lease = await self._api.get(LEASE, self._namespace, self._name)
        except NotFound:
            await self._make(begun)
            return
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") != self.identity:
            self._renewed = None
            if not self._free(lease, begun):
                return
        elif self._renewed is None and not self._free(lease, begun):
            return  # a namesake's, or ours from before a restart: neither is known to have ended
        await self._replace(lease, self._spec(spec), begun)

    async def release(self) -> None:
        """Give the lease back, so that another need not wait. Raises ApiError."""
        if self._renewed is None:
            return
        self._renewed = None
        try:
            lease = await self._api.get(LEASE, self._namespace, self._name)
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") != self.identity:
                return
            free = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._api.replace(LEASE, {**lease, "spec": free})
        except (NotFound, Conflict):
            return

    def _free(self, lease: Object, now: float) -> bool:
        """Nobody holds it, or its holder has not been heard of for its whole duration."""
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return True
        news = (
            str(spec["holderIdentity"]),
            str(spec.get("renewTime", "")),
            int(spec.get("leaseTransitions") or 0),
        )
        if news != self._seen:
            self._seen, self._seen_at = news, now
        # Its own duration, should another version of us be configured otherwise.
        duration = max(float(spec.get("leaseDurationSeconds") or 0), self.term.duration)
        return now >= self._seen_at + duration

    def _spec(self, before: Object) -> dict[str, Any]:
        now = _stamp(self._clock.now())
        mine = before.get("holderIdentity") == self.identity and self._renewed is not None
        transitions = int(before.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self.term.duration)),
            "acquireTime": before.get("acquireTime") or now if mine else now,
            "renewTime": now,
            "leaseTransitions": transitions if mine else transitions + 1,
        }

    async def _make(self, begun: float) -> None:
        body = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._spec({}),
        }
        try:
            await self._api.create(LEASE, body)
        except (AlreadyExists, Conflict):
            self._renewed = None
            return
        self._renewed = begun

    async def _replace(self, lease: Object, spec: dict[str, Any], begun: float) -> None:
        body = {**lease, "metadata": dict(meta(lease)), "spec": spec}
        try:
            await self._api.replace(LEASE, body)
        except (NotFound, Conflict):
            self._renewed = None
            return
        self._renewed = begun


def _stamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
