"""The API server through the kubernetes client's connection: one HTTP request for each call.

Plain JSON both ways, no model classes: a field that this version of the client does not know
must not be lost. Requests block in a thread; nothing is retried here, the queue does that.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from berth.controller import rbac
from berth.controller.errors import (
    ApiError,
    Forbidden,
    NotFound,
    Timeout,
    Unavailable,
    from_status,
)
from berth.controller.kinds import EVENT, Kind, Object, meta
from berth.controller.ports import Listing
from berth.controller.rbac import Verb
from berth.controller.reach import Reach, Target
from berth.workspace.actions import FIELD_OWNER

_PAGE = 500  # objects of one answer
_CONNECT, _READ = 5.0, 20.0  # seconds
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"

Counted = Callable[[str, int], None]  # method, status (0: no answer)


class KubeApi:
    """The Api that a cluster answers.

    Args:
        client: a kubernetes.client.ApiClient: its address, certificates and tokens are used.
        counted: told of every request, for the metrics.
        back: called in the event loop when the server answers again after an outage.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        client: Any,
        counted: Counted = lambda method, status: None,
        *,
        back: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._configuration = client.configuration
        self._pool = client.rest_client.pool_manager
        self._counted = counted
        self._back = back
        self._clock = clock
        self._reach = Reach()

    async def list(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Listing:
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        query = {"labelSelector": selector} if selector else {}
        return await self._pages(kind, namespace, query)

    async def warnings(self, namespace: str, selector: str = "") -> Sequence[Object]:
        fields = f"type=Warning,{selector}" if selector else "type=Warning"
        return (await self._pages(EVENT, namespace, {"fieldSelector": fields})).items

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        return await self._send("get", "GET", kind, namespace, name)

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        try:
            await self._send("get", "GET", kind, namespace, name, accept=METADATA_ONLY)
        except NotFound:
            return False
        return True

    async def has(self, kind: Kind) -> bool:
        # Discovery is open to every service account: nothing is granted for it.
        try:
            found = await self._request("GET", _root(kind), {}, None, _JSON, (_root(kind),))
        except NotFound:
            return False
        return any(entry.get("name") == kind.plural for entry in found.get("resources") or ())

    async def apply(self, kind: Kind, obj: Object) -> Object:
        m = meta(obj)
        rbac.check("create", kind)
        query = {"fieldManager": FIELD_OWNER, "force": "false"}
        return await self._send(
            "patch", "PATCH", kind, m.get("namespace"), m["name"], obj, query=query, content=_APPLY
        )

    async def create(self, kind: Kind, obj: Object) -> Object:
        query = {"fieldManager": FIELD_OWNER}
        namespace = meta(obj).get("namespace")
        return await self._send("create", "POST", kind, namespace, "", obj, query=query)

    async def replace(self, kind: Kind, obj: Object) -> Object:
        m = meta(obj)
        query = {"fieldManager": FIELD_OWNER}
        return await self._send(
            "update", "PUT", kind, m.get("namespace"), m["name"], obj, query=query
        )

    async def replace_status(self, kind: Kind, obj: Object) -> Object:
        m = meta(obj)
        return await self._send(
            "update",
            "PUT",
            kind,
            m.get("namespace"),
            m["name"],
            obj,
            subresource="status",
            query={"fieldManager": FIELD_OWNER},
        )

    async def merge(
        self, kind: Kind, namespace: str | None, name: str, patch: Mapping[str, Any]
    ) -> Object:
        query = {"fieldManager": FIELD_OWNER}
        return await self._send(
            "patch", "PATCH", kind, namespace, name, patch, query=query, content=_MERGE
        )

    async def delete(self, kind: Kind, namespace: str | None, name: str, uid: str) -> Object | None:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        answer = await self._send("delete", "DELETE", kind, namespace, name, options)
        # A Status says that it is gone; the object itself, that finalizers still hold it.
        held = answer.get("kind") == kind.kind and meta(answer).get("deletionTimestamp")
        return answer if held else None

    async def _pages(self, kind: Kind, namespace: str | None, query: Mapping[str, str]) -> Listing:
        items: list[Object] = []
        token = ""
        while True:
            page = {**query, "limit": str(_PAGE), **({"continue": token} if token else {})}
            answer = await self._send("list", "GET", kind, namespace, "", query=page)
            # Items of a list carry neither of the two.
            items += (
                {"apiVersion": kind.api_version, "kind": kind.kind, **item}
                for item in answer.get("items") or ()
            )
            m = answer.get("metadata") or {}
            token = m.get("continue") or ""
            if not token:
                version = str(m.get("resourceVersion", ""))
                return Listing(items, int(version) if version.isdecimal() else 0)

    async def _send(
        self,
        verb: Verb,
        method: str,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any] | None = None,
        *,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> dict[str, Any]:
        rbac.check(verb, kind, subresource)
        path = _path(kind, namespace, name, subresource)
        right = (verb, kind.plural, subresource, namespace or "")
        return await self._request(method, path, query or {}, body, content, right, accept)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        content: str,
        right: Target,
        accept: str = _JSON,
    ) -> dict[str, Any]:
        try:
            answer = await asyncio.to_thread(
                self._block, method, path, query, body, content, accept
            )
        except ApiError as error:
            now, write = self._clock(), method != "GET"
            judged = self._reach.judge(error, right, now, write=write)
            # Also a refusal is an answer, but a 403 or 429 does not say that it can be used.
            if judged is error and not error.over and not isinstance(error, Forbidden):
                self._note_success(right, now)
            raise judged from error.__cause__
        self._note_success(right, self._clock())
        return answer

    def _note_success(self, right: Target, now: float) -> None:
        if self._reach.succeeded(right, now):
            self._back()

    def _block(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        content: str,
        accept: str,
    ) -> dict[str, Any]:
        from urllib3 import Timeout as Limit
        from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

        url = f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": accept, "User-Agent": "berth-controller"}
        for setting in self._configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        if body is not None:
            headers["Content-Type"] = content
        status = 0
        try:
            answer = self._pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=Limit(connect=_CONNECT, read=_READ),
                retries=False,
            )
            status = answer.status
            return _parsed(answer.status, answer.data, answer.headers.get("Retry-After"))
        except NewConnectionError as error:  # to urllib3 a timeout too
            raise Unavailable(f"{method} {path}: no connection") from error
        except TimeoutError as error:
            raise Timeout(f"{method} {path}: no answer in time") from error
        except (HTTPError, OSError) as error:
            raise Unavailable(f"{method} {path}: {type(error).__name__}") from error
        finally:
            self._counted(method, status)


def _parsed(status: int, data: bytes, retry_after: str | None) -> dict[str, Any]:
    """The object of an answer. Raises ApiError for every status but 2xx."""
    try:
        found = json.loads(data) if data else {}
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        found = {}
    if 200 <= status < 300:
        return found
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    error: ApiError = from_status(status, found, seconds)
    raise error


def _root(kind: Kind) -> str:
    return f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"


def _path(kind: Kind, namespace: str | None, name: str, subresource: str) -> str:
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace and kind.namespaced else ""
    named = f"/{quote(name, safe='')}" if name else ""
    below = f"/{subresource}" if subresource else ""
    return f"{_root(kind)}{where}/{kind.plural}{named}{below}"
