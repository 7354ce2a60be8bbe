"""kmock's HTTP server with the simulator's API server behind it, in real (but faster) time.

kmock answers discovery and keeps every request; objects, versions, conflicts, apply and watches are
the simulator's, and so is the cluster around them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import attrs
import kmock
import yaml
from aiohttp import web

from berth.controller.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    FieldConflict,
    Forbidden,
    Invalid,
    NotFound,
)
from berth.controller.kinds import (
    EVENT,
    LEASE,
    NEEDED,
    NODE_CLAIM,
    WATCHED,
    WORKSPACE,
    Kind,
    Object,
)
from controller.simulator.cluster import Cluster
from controller.simulator.server import Change, Server

_SPEED = 20.0  # seconds of the cluster in one of ours
_T = TypeVar("_T")
_SERVED = (*WATCHED, NODE_CLAIM, *NEEDED.values(), EVENT, LEASE)
_CODES: tuple[tuple[type[ApiError], int, str], ...] = (
    (AlreadyExists, 409, "AlreadyExists"),
    (FieldConflict, 409, "Conflict"),
    (Conflict, 409, "Conflict"),
    (NotFound, 404, "NotFound"),
    (Forbidden, 403, "Forbidden"),
    (Invalid, 422, "Invalid"),
)


@dataclass(frozen=True)
class Request:
    """One request that was answered."""

    method: str
    plural: str
    subresource: str
    name: str
    manager: str
    agent: str
    body: Any


@attrs.define(kw_only=True)
class _Handler(kmock.KubernetesScaffold):
    """Serves one Server; everything runs in one event loop."""

    state: Server
    requests_seen: list[Request] = attrs.field(factory=list)
    outage: bool = False
    dropping: bool = False  # connections are lost without an answer
    denying: bool = False  # the authorizer has not read the roles yet
    denied: list[str] = attrs.field(factory=list)  # what was asked meanwhile
    news: asyncio.Condition = attrs.field(factory=asyncio.Condition)
    expired: int = 0  # watches from before this version are told 410

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for kind in _SERVED:
            self.declare(kind)
        # kopf waits for these two in discovery before it watches anything.
        self.resources["v1/namespaces"] = kmock.ResourceInfo(
            namespaced=False, kind="Namespace", verbs={"list", "watch"}
        )
        self.resources["apiextensions.k8s.io/v1/customresourcedefinitions"] = kmock.ResourceInfo(
            namespaced=False, kind="CustomResourceDefinition", verbs={"list", "watch"}
        )

    def declare(self, kind: Kind) -> None:
        self.resources[f"{kind.api_version}/{kind.plural}"] = kmock.ResourceInfo(
            namespaced=kind.namespaced,
            kind=kind.kind,
            verbs={"get", "list", "watch", "create", "update", "patch", "delete"},
            subresources={"status"} if kind == WORKSPACE else set(),
        )

    async def _handle(self, request: kmock.Request) -> web.StreamResponse:
        if self.outage:
            return web.json_response({"kind": "Status", "message": "starting"}, status=503)
        raw = request._raw_request
        assert raw is not None
        if self.dropping:
            assert raw.transport is not None
            raw.transport.abort()
            return web.Response()
        if self.denying:
            self.denied.append(f"{raw.method} {raw.path}")
            words = f'{raw.path} is forbidden: User "system:serviceaccount:b:c" cannot ask for it'
            body = {"kind": "Status", "reason": "Forbidden", "code": 403, "message": words}
            return web.json_response(body, status=403)
        kind = _kind_of(request)
        if kind is None:
            return await super()._handle(request)
        if request.params.get("watch") == "true":
            return await self._watch(kind, request)
        self._note(kind, request)
        try:
            return web.json_response(self._answer(kind, request))
        except ApiError as error:
            return _failure(error)
        finally:
            async with self.news:
                self.news.notify_all()

    def _note(self, kind: Kind, request: kmock.Request) -> None:
        self.requests_seen.append(
            Request(
                method=str(request.method.value).upper(),
                plural=kind.plural,
                subresource=request.subresource or "",
                name=request.name or "",
                manager=request.params.get("fieldManager", ""),
                agent=request.headers.get("User-Agent", ""),
                body=json.loads(request.body) if request.body else None,
            )
        )

    def _answer(self, kind: Kind, request: kmock.Request) -> Any:
        where, name, state = request.namespace, request.name or "", self.state
        body = json.loads(request.body) if request.body else {}
        manager = request.params.get("fieldManager", "")
        match request.method.value.upper():
            case "GET" if name:
                return state.get(kind, where, name)
            case "GET":
                return self._list(kind, request)
            case "POST":
                return state.create(kind, body, manager)
            case "PUT" if request.subresource == "status":
                return state.replace_status(kind, body)
            case "PUT":
                return state.replace(kind, body, manager)
            case "PATCH" if request.headers["Content-Type"] == "application/apply-patch+yaml":
                assert request.params["force"] == "false"
                return state.apply(kind, body, manager)
            case "PATCH":
                return state.merge(kind, where, name, body, manager)
            case "DELETE":
                if body.get("gracePeriodSeconds") == 0:  # as a kubelet ends a pod
                    state.merge(kind, where, name, {"metadata": {"finalizers": []}})
                    return {"kind": "Status", "status": "Success"}
                left = state.delete(kind, where, name, body.get("preconditions", {}).get("uid"))
                return left or {"kind": "Status", "status": "Success"}
        raise Invalid(f"{request.method} is not served")

    def _list(self, kind: Kind, request: kmock.Request) -> Any:
        labels = _pairs(request.params.get("labelSelector", ""))
        fields = _pairs(request.params.get("fieldSelector", ""))
        items = [
            {k: v for k, v in obj.items() if k not in ("apiVersion", "kind")}
            for obj in self.state.search(kind, request.namespace, labels)
            if all(_field(obj, path) == value for path, value in fields.items())
        ]
        return {"metadata": {"resourceVersion": str(self.state.version)}, "items": items}

    async def _watch(self, kind: Kind, request: kmock.Request) -> web.StreamResponse:
        raw = request._raw_request
        assert raw is not None
        response = web.StreamResponse()
        await response.prepare(raw)
        version = int(request.params.get("resourceVersion") or 0)
        place = 0
        while not (self.outage or self.dropping):
            if version < self.expired:
                await _send(response, "ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
                break
            for change in self.state.log[place:]:
                if change.version > version and change.kind == kind and _within(change, request):
                    kind_of_event = "DELETED" if change.type == "deleted" else "MODIFIED"
                    kind_of_event = "ADDED" if change.created else kind_of_event
                    obj = change.object
                    if "PartialObjectMetadata" in request.headers.get("Accept", ""):
                        obj = {"kind": "PartialObjectMetadata", "metadata": obj["metadata"]}
                    await _send(response, kind_of_event, obj)
            place = len(self.state.log)
            version = max(version, self.state.version)
            async with self.news:
                await self.news.wait()
        return response


class LiveServer:
    """Serves until the with-block ends, from a thread of its own."""

    def __init__(self, tmp: Path, **cluster: Any) -> None:
        self._begun = time.monotonic()
        self._tmp = tmp
        self.state = Server(lambda: datetime.now(UTC))
        self.cluster = Cluster(self.state, self._clock, **cluster)
        self.state.on_change = self._changed
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self.url = ""

    def __enter__(self) -> LiveServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def kubeconfig(self) -> Path:
        """A file that leads here."""
        path = self._tmp / "kubeconfig"
        named = {"name": "mock"}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "mock",
                    "clusters": [{**named, "cluster": {"server": self.url}}],
                    "contexts": [{**named, "context": {"cluster": "mock", "user": "mock"}}],
                    "users": [{**named, "user": {"token": "a-token"}}],
                }
            )
        )
        return path

    @property
    def requests(self) -> list[Request]:
        return list(self.handler.requests_seen)

    def do(self, act: Callable[[Server], _T]) -> _T:
        """Run something in the server's loop, as a user's request would be."""

        async def there() -> _T:
            answer = act(self.state)
            async with self.handler.news:
                self.handler.news.notify_all()
            return answer

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(10)

    def set_outage(self, outage: bool) -> None:
        def act(_: Server) -> None:
            self.handler.outage = outage

        self.do(act)

    def set_dropping(self, dropping: bool) -> None:
        """Every connection is lost, watches too."""

        def act(_: Server) -> None:
            self.handler.dropping = dropping

        self.do(act)

    def set_denying(self, denying: bool) -> None:
        """Every request is answered 403, as the authorizer of a server that starts does."""

        def act(_: Server) -> None:
            self.handler.denying = denying

        self.do(act)

    def expire_watches(self) -> None:
        """Every watch is told 410."""

        def act(state: Server) -> None:
            self.handler.expired = state.version + 1
            state.version += 1

        self.do(act)

    # Inside

    def _clock(self) -> float:
        return (time.monotonic() - self._begun) * _SPEED

    def _changed(self, change: Change) -> None:
        self.cluster.saw(change)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self.handler = _Handler(state=self.state)
        async with self.handler, kmock.Server(self.handler) as server:
            self.url = str(server.url).rstrip("/")
            turning = asyncio.create_task(self._turn())
            self._ready.set()
            await self._stop.wait()
            self.handler.outage = True
            async with self.handler.news:
                self.handler.news.notify_all()
            turning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await turning

    async def _turn(self) -> None:
        """The cluster acts, twenty times a second."""
        while True:
            version = self.state.version
            self.cluster.step()
            if self.state.version != version:
                async with self.handler.news:
                    self.handler.news.notify_all()
            await asyncio.sleep(0.05)


def wait_until(
    condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = 30.0
) -> Any:
    """What the condition becomes, once it is true; fails the test if it does not in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"in {seconds:g} seconds: not {told}")
        time.sleep(0.02)
    return found


def status_of(workspace: Object | None, condition: str) -> str:
    """True, False, Unknown, or "" where there is no such condition."""
    conditions = ((workspace or {}).get("status") or {}).get("conditions") or ()
    return next((str(c["status"]) for c in conditions if c["type"] == condition), "")


def _kind_of(request: kmock.Request) -> Kind | None:
    found = request.resource
    if found is None or found.plural is None:
        return None
    wanted = (found.group, found.version, found.plural)
    return next((k for k in _SERVED if (k.group, k.version, k.plural) == wanted), None)


def _pairs(selector: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in selector.split(",") if part)


def _field(obj: Object, path: str) -> Any:
    found: Any = obj
    for key in path.split("."):
        found = (found or {}).get(key)
    return found


def _within(change: Change, request: kmock.Request) -> bool:
    fields = _pairs(request.params.get("fieldSelector", ""))
    if any(_field(change.object, path) != value for path, value in fields.items()):
        return False
    return request.namespace in (None, change.object["metadata"].get("namespace"))


async def _send(response: web.StreamResponse, kind: str, obj: Object) -> None:
    line = json.dumps({"type": kind, "object": obj}) + "\n"
    await response.write(line.encode())


def _failure(error: ApiError) -> web.Response:
    code, reason = next((c, r) for known, c, r in _CODES if isinstance(error, known))
    details: dict[str, Any] = {}
    if isinstance(error, FieldConflict):
        details["causes"] = [{"reason": "FieldManagerConflict", "message": str(error)}]
    status = {"kind": "Status", "code": code, "reason": reason, "message": str(error)}
    return web.json_response({**status, "details": details}, status=code)
