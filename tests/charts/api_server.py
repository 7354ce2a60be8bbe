"""An API server on loopback, as much of one as Helm needs: discovery, a store, watches, Jobs.

A Job is over as soon as it is created: its container's `berth` command is run here, against this
server. Nothing else comes alive. No schema, no admission, no garbage collection.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from click.testing import CliRunner

from berth.cli.main import main

Object = dict[str, Any]

# group/version: {plural: (kind, namespaced)}
_KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "nodes": ("Node", False),
        "pods": ("Pod", True),
        "secrets": ("Secret", True),
        "services": ("Service", True),
        "serviceaccounts": ("ServiceAccount", True),
        "configmaps": ("ConfigMap", True),
    },
    "apps/v1": {"statefulsets": ("StatefulSet", True), "deployments": ("Deployment", True)},
    "batch/v1": {"jobs": ("Job", True)},
    "policy/v1": {"poddisruptionbudgets": ("PodDisruptionBudget", True)},
    "networking.k8s.io/v1": {"networkpolicies": ("NetworkPolicy", True)},
    "rbac.authorization.k8s.io/v1": {
        "roles": ("Role", True),
        "rolebindings": ("RoleBinding", True),
        "clusterroles": ("ClusterRole", False),
        "clusterrolebindings": ("ClusterRoleBinding", False),
    },
    "coordination.k8s.io/v1": {"leases": ("Lease", True)},
    "kaito.sh/v1beta1": {"workspaces": ("Workspace", True)},
    "apiextensions.k8s.io/v1": {"customresourcedefinitions": ("CustomResourceDefinition", False)},
}
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<version>[^/]+/[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?P<log>/log)?"
)
Place = tuple[str, str, str]  # plural, namespace, name


class ApiServer:
    """The store, and what was asked of it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.objects: dict[Place, Object] = {}
        self.created: list[str] = []  # kind/name of all that ever was, in order
        self.logs: dict[str, str] = {}  # of pods, by name
        self.logs_read: list[str] = []
        self.events: list[tuple[str, str, Object]] = []  # type, plural, object
        self.changed = threading.Condition()  # also guards the store
        self.ended = False
        self._version = 0

    def names(self, plural: str) -> list[str]:
        """What there is of a kind now."""
        return sorted(name for kind, _, name in self.objects if kind == plural)

    def take(self, place: Place) -> Object | None:
        """Delete."""
        with self.changed:
            item = self.objects.pop(place, None)
            if item is not None:
                self._tell("DELETED", place[0], item)
            return item

    def _tell(self, kind: str, plural: str, item: Object) -> None:
        self.events.append((kind, plural, copy.deepcopy(item)))
        self.changed.notify_all()

    def put(self, plural: str, item: Object) -> Object:
        """Create or replace."""
        with self.changed:
            meta = item["metadata"]
            place = (plural, meta.get("namespace", ""), meta["name"])
            old = self.objects.get(place)
            self._version += 1
            meta["resourceVersion"] = str(self._version)
            meta["uid"] = old["metadata"]["uid"] if old else f"uid-{self._version}"
            meta.setdefault("creationTimestamp", "2026-11-21T00:00:00Z")
            if old is None:
                self.created.append(f"{item['kind']}/{meta['name']}")
            self.objects[place] = item
            self._tell("ADDED" if old is None else "MODIFIED", plural, item)
            if plural == "jobs" and old is None:
                self._run(item)
            return item

    def _run(self, job: Object) -> None:
        """Carry a Job out, with a pod that has its words."""
        template = job["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert container["command"] == ["berth"]
        arguments = [*container["args"], "--kubeconfig", str(self.kubeconfig)]
        done = CliRunner().invoke(main, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        name = f"{job['metadata']['name']}-x"
        self.logs[name] = done.output
        uid = job["metadata"]["uid"]
        labels = {**template["metadata"]["labels"], "batch.kubernetes.io/controller-uid": uid}
        labels["job-name"] = labels["batch.kubernetes.io/job-name"] = job["metadata"]["name"]
        place = {"namespace": job["metadata"]["namespace"], "name": name, "labels": labels}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": place, "spec": template["spec"]}
        failed = done.exit_code != 0
        self.put("pods", {**pod, "status": {"phase": "Failed" if failed else "Succeeded"}})
        kind, count = ("Failed", "failed") if failed else ("Complete", "succeeded")
        reason = "BackoffLimitExceeded" if failed else "CompletionsReached"
        condition = {"type": kind, "status": "True", "reason": reason, "message": reason}
        self.put("jobs", {**job, "status": {"conditions": [condition], count: 1}})


@contextlib.contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """A running server; its kubeconfig lies in the folder."""
    file = folder / "kubeconfig"
    state = ApiServer(file)

    class Handler(_Handler):
        api = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    url = f"http://127.0.0.1:{server.server_address[1]}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": "t"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    file.write_text(yaml.safe_dump(content))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield state
    finally:
        with state.changed:
            state.ended = True
            state.changed.notify_all()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self._discovery(url.path):
            return
        found = _PATH.fullmatch(url.path)
        if found is None:
            self._refuse(404, "NotFound")
        elif found["log"]:
            self.api.logs_read.append(found["name"])
            self._send(self.api.logs[found["name"]], "text/plain", 200)
        elif found["name"]:
            item = self.api.objects.get(self._place(found))
            self._json(item) if item else self._refuse(404, "NotFound")
        else:
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            self._list(found, query)

    def do_POST(self) -> None:
        found = _PATH.fullmatch(urlsplit(self.path).path)
        assert found is not None
        item = self._body()
        if found["namespace"]:
            item["metadata"].setdefault("namespace", found["namespace"])
        place = (found["plural"], found["namespace"] or "", item["metadata"]["name"])
        if place in self.api.objects:
            self._refuse(409, "AlreadyExists")
        else:
            self._json(self.api.put(found["plural"], item), 201)

    def do_PATCH(self) -> None:
        """Server-side apply: what is sent is the whole object."""
        found = _PATH.fullmatch(urlsplit(self.path).path)
        assert found is not None
        assert self.headers["Content-Type"] == "application/apply-patch+yaml"
        old = self.api.objects.get(self._place(found), {})
        item = self._body()
        item["metadata"] = {**old.get("metadata", {}), **item["metadata"]}
        self._json(self.api.put(found["plural"], item), 200 if old else 201)

    def do_DELETE(self) -> None:
        found = _PATH.fullmatch(urlsplit(self.path).path)
        assert found is not None
        self._body()
        item = self.api.take(self._place(found))
        self._json(item) if item else self._refuse(404, "NotFound")

    def _place(self, found: re.Match[str]) -> Place:
        return found["plural"], found["namespace"] or "", found["name"]

    def _list(self, found: re.Match[str], query: dict[str, str]) -> None:
        """Objects of a kind."""
        version = found["core"] or found["version"]
        kind, _ = _KINDS[version][found["plural"]]
        items = [
            {"apiVersion": version, "kind": kind, **item}
            for (plural, namespace, _), item in sorted(self.api.objects.items())
            if plural == found["plural"]
            and namespace == (found["namespace"] or namespace)
            and _selected(item, query)
        ]
        if query.get("watch") in ("true", "1"):
            self._watch(items, found, query)
            return
        listing = {"apiVersion": version, "kind": f"{kind}List", "items": items}
        self._json({**listing, "metadata": {"resourceVersion": "1"}})

    def _watch(self, items: list[Object], found: re.Match[str], query: dict[str, str]) -> None:
        """What is there, a bookmark that says so, and then each change until the end."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        next_event = len(self.api.events)
        with contextlib.suppress(OSError):  # the client leaves when it has seen enough
            for item in items:
                self._event("ADDED", item)
            version = found["core"] or found["version"]
            kind, _ = _KINDS[version][found["plural"]]
            end = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
            self._event("BOOKMARK", {"apiVersion": version, "kind": kind, "metadata": end})
            while not self.api.ended:
                for change, plural, item in self._news(next_event):
                    next_event += 1
                    if plural == found["plural"] and _selected(item, query):
                        self._event(change, {"apiVersion": version, "kind": kind, **item})

    def _news(self, after: int) -> list[tuple[str, str, Object]]:
        """Events from the one of that number on; waits until there are some, or the end."""
        with self.api.changed:
            self.api.changed.wait_for(lambda: self.api.ended or len(self.api.events) > after)
            return self.api.events[after:]

    def _event(self, change: str, item: Object) -> None:
        line = json.dumps({"type": change, "object": item}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def _discovery(self, path: str) -> bool:
        groups = [version.split("/") for version in _KINDS if "/" in version]
        if path == "/version":
            self._json({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})
        elif path == "/openapi/v3":
            self._json({"paths": {}})
        elif path == "/openapi/v2":  # protobuf; an empty message knows no kind, so none is checked
            self._send("", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", 200)
        elif path == "/api":
            self._json({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            listed = [
                {
                    "name": group,
                    "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                    "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
                }
                for group, version in groups
            ]
            self._json({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
        elif (version := path.removeprefix("/apis/").removeprefix("/api/")) in _KINDS:
            verbs = ["create", "delete", "get", "list", "patch", "watch"]
            resources: list[Object] = [
                {"name": plural, "kind": kind, "namespaced": namespaced, "verbs": verbs}
                for plural, (kind, namespaced) in _KINDS[version].items()
            ]
            content = {"kind": "APIResourceList", "apiVersion": "v1", "resources": resources}
            self._json({**content, "groupVersion": version})
        else:
            return False
        return True

    def _body(self) -> Object:
        read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return dict(yaml.load(read, Loader=yaml.CSafeLoader) or {})

    def _refuse(self, status: int, reason: str) -> None:
        content = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
        self._json({**content, "reason": reason, "message": reason}, status)

    def _json(self, content: Object, status: int = 200) -> None:
        self._send(json.dumps(content), "application/json", status)

    def _send(self, content: str, kind: str, status: int) -> None:
        body = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _selected(item: Object, query: dict[str, str]) -> bool:
    """labelSelector KEY=VALUE, and metadata.name of fieldSelector."""
    labels = item["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", "").split(",")):
        key, _, value = part.partition("=")
        if labels.get(key) != value:
            return False
    for part in filter(None, query.get("fieldSelector", "").split(",")):
        key, equals, value = part.partition("=")
        if key == "metadata.name" and equals and item["metadata"]["name"] != value:
            return False
    return True
