"""Plain requests to an API server, and a node that nobody runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import urllib3

from berth.cluster.api_server import connect

Json = dict[str, Any]
Health = Literal["ready", "starting", "crash"]

_MERGE = "application/merge-patch+json"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


class Refused(Exception):
    """The API server's answer, where it is none of 2xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Cluster:
    """An API server, by a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        api: Any = connect(kubeconfig).api_client
        self.configuration = api.configuration
        self._pool: urllib3.PoolManager = api.rest_client.pool_manager

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content: str = "application/json",
        **query: str,
    ) -> Json:
        """Raises Refused."""
        headers = {"Accept": "application/json", "Content-Type": content}
        for setting in self.configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        url = f"{self.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(method, url, body=data, headers=headers, timeout=30.0)
        found: Json = json.loads(answer.data) if answer.data else {}
        if answer.status >= 300:
            raise Refused(answer.status, str(found.get("message", found)))
        return found

    def find(self, path: str) -> Json | None:
        try:
            return self.request("GET", path)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str, **query: str) -> list[Json]:
        found: list[Json] = self.request("GET", path, None, **query).get("items") or []
        return found

    def merge(self, path: str, patch: Mapping[str, Any]) -> Json:
        return self.request("PATCH", path, patch, content=_MERGE, fieldManager="test")

    def create(self, path: str, body: Mapping[str, Any], **query: str) -> Json:
        query = {"fieldManager": "test", **query}
        return self.request("POST", path, body, content="application/json", **query)

    def remove(self, path: str, *, now: bool = False) -> None:
        """Delete, whatever is there; `now`: without waiting for a kubelet."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        try:
            self.request("DELETE", path, options | ({"gracePeriodSeconds": 0} if now else {}))
        except Refused as error:
            if error.status != 404:
                raise


class FakeNode:
    """A GPU node that is only an object: its heartbeat and its pods are kept by a thread.

    Pods that the scheduler binds to it become what `health` says, and end when they are deleted.
    """

    def __init__(self, cluster: Cluster, name: str, labels: Mapping[str, str]) -> None:
        self.name = name
        self.health: Health = "starting"
        self._cluster = cluster
        self._labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4",
            "nvidia.com/gpu.product": "NVIDIA-A100-80GB-PCIe",
            "nvidia.com/gpu.count": "1",
            "nvidia.com/gpu.memory": "81920",
            "nvidia.com/gpu.present": "true",
            **labels,
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self.errors: list[str] = []

    def __enter__(self) -> FakeNode:
        metadata = {"name": self.name, "labels": self._labels}
        # Nobody's daemons are to be put here: only pods that tolerate GPU nodes.
        taint = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
        self._cluster.create("/api/v1/nodes", {**node, "spec": {"taints": [taint]}})
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._pods()
        self._cluster.remove(f"/api/v1/nodes/{self.name}")
        self._cluster.remove(f"{_LEASES}/{self.name}")

    def _keep(self) -> None:
        beaten = 0.0
        while not self._stop.wait(0.3):
            try:
                if time.monotonic() > beaten + 5:
                    self._beat()
                    beaten = time.monotonic()
                self._pods()
            except (Refused, urllib3.exceptions.HTTPError) as error:
                self.errors.append(str(error))  # another writer was faster: the next turn

    def _beat(self) -> None:
        now = datetime.now(UTC)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        resources = {
            "cpu": "24",
            "memory": "220Gi",
            "ephemeral-storage": "900Gi",
            "pods": "20",
            "nvidia.com/gpu": "1",
        }
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "a node of a test",
            "lastHeartbeatTime": stamp,
            "lastTransitionTime": stamp,
        }
        status = {"capacity": resources, "allocatable": resources, "conditions": [ready]}
        self._cluster.merge(f"/api/v1/nodes/{self.name}/status", {"status": status})
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": 40,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        if self._cluster.find(f"{_LEASES}/{self.name}") is not None:
            self._cluster.merge(f"{_LEASES}/{self.name}", {"spec": spec})
            return
        metadata = {"name": self.name, "namespace": "kube-node-lease"}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
        self._cluster.create(_LEASES, {**lease, "spec": spec})

    def _pods(self) -> None:
        for pod in self._cluster.items("/api/v1/pods"):
            if (pod.get("spec") or {}).get("nodeName") != self.name:
                continue
            m = pod["metadata"]
            path = f"/api/v1/namespaces/{m['namespace']}/pods/{m['name']}"
            if "deletionTimestamp" in m:
                self._cluster.remove(path, now=True)
                continue
            wanted = _pod_status(pod, self.health)
            known = pod.get("status") or {}
            if any(known.get(key) != value for key, value in wanted.items()):
                self._cluster.merge(f"{path}/status", {"status": wanted})


def _pod_status(pod: Json, health: Health) -> Json:
    ready = "True" if health == "ready" else "False"
    began = pod["metadata"]["creationTimestamp"]
    types = {
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": ready,
        "Ready": ready,
    }
    state: Json = {"running": {"startedAt": began}}
    last: Json = {}
    if health == "crash":
        words = "back-off 5m0s restarting failed container"
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": words}}
        times = {"startedAt": began, "finishedAt": began}
        last = {"terminated": {"exitCode": 1, "reason": "Error", **times}}
    return {
        "phase": "Running",
        "conditions": [
            {"type": kind, "status": status, "lastTransitionTime": began}
            for kind, status in types.items()
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": health == "ready",
                "started": health == "ready",
                "restartCount": 3 if health == "crash" else 0,
                "state": state,
                "lastState": last,
            }
            for container in pod["spec"]["containers"]
        ],
    }


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """What the condition becomes, once it is true; fails the test if it does not in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in {seconds:g} seconds: not {what}"
        time.sleep(0.1)
    return found
