"""An Api straight to the simulator's server: no delay, and failures where a test puts them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from berth.controller.core import Outcome, Reconciler
from berth.controller.errors import ApiError
from berth.controller.kinds import EVENT, NODE_CLAIM, WATCHED, WORKSPACE, Key, Kind, Object
from berth.controller.ports import Listing
from berth.controller.store import Store
from berth.workspace.actions import FIELD_OWNER, Action
from berth.workspace.observed import Observed, Settings
from controller.simulator.objects import NAMESPACE, workspace
from controller.simulator.server import Server

MINE = Key(NAMESPACE, "llama")


class DirectApi:
    """Keeps what was asked, as "verb Kind name"; `fails` maps such a line to an error."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.asked: list[str] = []
        self.used: set[tuple[str, Kind]] = set()
        self.fails: dict[str, ApiError] = {}

    async def list(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Listing:
        self._ask("list", kind, "")
        return Listing(self.server.search(kind, namespace, labels), self.server.version)

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        self._ask("get", kind, name)
        return self.server.get(kind, namespace, name)

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        self._ask("get", kind, name)
        return self.server.find(kind, namespace, name) is not None

    async def has(self, kind: Kind) -> bool:
        return kind not in self.server.missing

    async def warnings(self, namespace: str, selector: str = "") -> Sequence[Object]:
        self._ask("list", EVENT, "")
        return [e for e in self.server.search(EVENT, namespace) if e["type"] == "Warning"]

    async def apply(self, kind: Kind, obj: Object) -> Object:
        self._ask("apply", kind, obj["metadata"]["name"])
        return self.server.apply(kind, obj, FIELD_OWNER)

    async def create(self, kind: Kind, obj: Object) -> Object:
        self._ask("create", kind, "" if kind == EVENT else obj["metadata"]["name"])
        return self.server.create(kind, obj, FIELD_OWNER)

    async def replace(self, kind: Kind, obj: Object) -> Object:
        self._ask("replace", kind, obj["metadata"]["name"])
        return self.server.replace(kind, obj, FIELD_OWNER)

    async def replace_status(self, kind: Kind, obj: Object) -> Object:
        self._ask("status", kind, obj["metadata"]["name"])
        return self.server.replace_status(kind, obj)

    async def merge(
        self, kind: Kind, namespace: str | None, name: str, patch: Mapping[str, Any]
    ) -> Object:
        self._ask("merge", kind, "" if kind == EVENT else name)
        return self.server.merge(kind, namespace, name, patch, FIELD_OWNER)

    async def delete(self, kind: Kind, namespace: str | None, name: str, uid: str) -> Object | None:
        self._ask("delete", kind, name)
        return self.server.delete(kind, namespace, name, uid)

    def _ask(self, verb: str, kind: Kind, name: str) -> None:
        line = f"{verb} {kind.kind} {name}".rstrip()
        self.asked.append(line)
        self.used.add((verb, kind))
        if line in self.fails:
            raise self.fails[line]


class Bench:
    """One Workspace, a reconciler, and plans that a test writes."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, tzinfo=UTC)
        self.server = Server(self.now)
        self.api = DirectApi(self.server)
        self.store = Store()
        self.store.has_claims = True
        self.seen: list[Observed] = []
        self.plan: Callable[[Observed], tuple[Action, ...]] = lambda observed: ()
        self.leads = True
        self.server.create(WORKSPACE, workspace())
        self.reconciler = Reconciler(
            api=self.api,
            clock=self,
            store=self.store,
            plan=self._planned,
            settings=Settings(),
            presets={},
            may_write=lambda: self.leads,
        )
        self.read()

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def later(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def read(self) -> None:
        """Everything into the store."""
        for kind in (*WATCHED, NODE_CLAIM):
            self.store.replace(kind, None, self.server.search(kind), self.server.version)

    def reconcile(self) -> Outcome:
        self.api.asked.clear()
        return asyncio.run(self.reconciler.reconcile(MINE))

    @property
    def workspace(self) -> dict[str, Any]:
        return self.server.get(WORKSPACE, *MINE)

    @property
    def version(self) -> str:
        return str(self.workspace["metadata"]["resourceVersion"])

    def _planned(self, observed: Observed, now: datetime) -> tuple[Action, ...]:
        self.seen.append(observed)
        return self.plan(observed)


def service(name: str = "llama", port: int = 80, owner: str = "") -> dict[str, Any]:
    """A Service as a plan has it."""
    m: dict[str, Any] = {"namespace": NAMESPACE, "name": name}
    m["labels"] = {"kaito.sh/workspace": "llama"}
    if owner:
        m["ownerReferences"] = [
            {
                "apiVersion": "kaito.sh/v1beta1",
                "kind": "Workspace",
                "name": "llama",
                "uid": owner,
                "controller": True,
            }
        ]
    spec = {"ports": [{"name": "http", "port": port, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": m, "spec": spec}


def claim(name: str) -> dict[str, Any]:
    """A NodeClaim as a plan has it."""
    labels = {"kaito.sh/workspace": "llama", "kaito.sh/workspacenamespace": NAMESPACE}
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
    }
