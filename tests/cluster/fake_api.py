"""A Kubernetes API server on loopback that knows nodes and pods, and answers in pages."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

LABELS = {
    "kubernetes.io/arch": "amd64",
    "node.kubernetes.io/instance-type": "g6.12xlarge",
    # As GPU Feature Discovery v0.17 writes them.
    "feature.node.kubernetes.io/pci-0302_10de.present": "true",
    "nvidia.com/cuda.driver-version.full": "570.86.15",
    "nvidia.com/gpu.compute.major": "8",
    "nvidia.com/gpu.compute.minor": "9",
    "nvidia.com/gpu.count": "4",
    "nvidia.com/gpu.family": "ada-lovelace",
    "nvidia.com/gpu.memory": "23034",
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-L4",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.sharing-strategy": "none",
    "nvidia.com/mig.strategy": "none",
}


class FakeApi:
    """What the server answers; change it between requests."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.pods: list[dict[str, Any]] = []
        self.deny: int | None = None  # answer every request with this status
        self.page: bytes | None = None  # answer every request with this, and status 200
        self.requests: list[str] = []
        self.url = ""

    def add_node(self, name: str, *, gpus: int | None = 4, **changes: Any) -> None:
        """A ready node of L4; `labels` and `taints` replace its own."""
        allocatable = {"cpu": "47", "memory": "190000000Ki", "pods": "110"}
        if gpus is not None:
            allocatable["nvidia.com/gpu"] = str(gpus)
        self.nodes.append(
            {
                "metadata": {"name": name, "labels": changes.get("labels", LABELS)},
                "spec": {
                    "taints": changes.get("taints", []),
                    "unschedulable": changes.get("cordoned", False),
                },
                "status": {
                    "allocatable": allocatable,
                    "conditions": [
                        {"type": "MemoryPressure", "status": "False"},
                        {"type": "Ready", "status": changes.get("ready", "True")},
                    ],
                },
            }
        )

    def add_pod(self, node: str | None, *containers: dict[str, Any], **changes: Any) -> None:
        """A pod; each container is its resources."""
        self.pods.append(
            {
                "metadata": {
                    "name": f"pod-{len(self.pods)}",
                    "namespace": changes.get("namespace", "default"),
                    "labels": changes.get("labels"),
                },
                "spec": {
                    "nodeName": node,
                    "containers": [
                        {"name": f"c{i}", "resources": given} for i, given in enumerate(containers)
                    ],
                    "initContainers": changes.get("init", []),
                },
                "status": {"phase": changes.get("phase", "Running")},
            }
        )

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig of this server."""
        file = folder / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "t"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        }
        file.write_text(yaml.safe_dump(content))
        return file


@contextlib.contextmanager
def fake_api() -> Iterator[FakeApi]:
    """A running server."""
    state = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            state.requests.append(self.path)
            if state.deny is not None:
                self._answer(state.deny, {"kind": "Status", "code": state.deny})
            elif state.page is not None:
                self._send(200, state.page)
            elif url.path == "/api/v1/nodes":
                self._list("NodeList", state.nodes, query)
            elif url.path == "/api/v1/pods":
                self._list("PodList", _selected(state.pods, query), query)
            else:
                self._answer(404, {"kind": "Status", "code": 404})

        def _list(self, kind: str, items: list[dict[str, Any]], query: dict[str, str]) -> None:
            first = int(query.get("continue", "0"))
            upto = first + min(int(query.get("limit", "500")), 2)  # small pages: several answers
            metadata = {"continue": str(upto)} if upto < len(items) else {}
            page = {"kind": kind, "apiVersion": "v1", "metadata": metadata}
            self._answer(200, page | {"items": items[first:upto]})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            self._send(status, json.dumps(body).encode())

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def _selected(pods: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    """The one kind of field selector that is asked for: status.phase!=…"""
    without = {
        part.partition("!=")[2]
        for part in query.get("fieldSelector", "").split(",")
        if part.startswith("status.phase!=")
    }
    return [pod for pod in pods if pod["status"]["phase"] not in without]
