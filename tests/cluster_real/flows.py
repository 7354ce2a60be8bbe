"""What is followed from a Workspace's creation to its end, on whatever answers as a cluster.

The same steps run against a real API server (test_cluster.py) and, so that they are run at all
where there is none, against kmock (test_flows_on_kmock.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cluster_real.client import Cluster, FakeNode, Json, wait_until

IMAGE = "registry.example.com/llama-2-7b-chat"
NAME = "llama"
_CHILDREN = {
    "statefulsets": "/apis/apps/v1",
    "services": "/api/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
}


class Flow:
    """One Workspace in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str, pool: str, log: Callable[[], str]) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.pool = pool
        self._log = log

    @property
    def workspaces(self) -> str:
        return f"/apis/kaito.sh/v1beta1/namespaces/{self.namespace}/workspaces"

    def manifest(self, preset: str = "llama-2-7b-chat") -> Json:
        return {
            "apiVersion": "kaito.sh/v1beta1",
            "kind": "Workspace",
            "metadata": {"namespace": self.namespace, "name": NAME},
            "resource": {"count": 1, "labelSelector": {"matchLabels": {"pool": self.pool}}},
            "inference": {
                "preset": {
                    "name": preset,
                    "accessMode": "private",
                    "presetOptions": {"image": f"{IMAGE}:1"},
                }
            },
        }

    def create(self, preset: str = "llama-2-7b-chat") -> None:
        self.cluster.create(self.workspaces, self.manifest(preset))

    def workspace(self) -> Json | None:
        return self.cluster.find(f"{self.workspaces}/{NAME}")

    def condition(self, kind: str) -> Json:
        found = self.workspace() or {}
        conditions = (found.get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == kind), {})

    def children(self) -> dict[str, str]:
        """Names and versions of the objects that Berth made."""
        return {
            f"{plural} {obj['metadata']['name']}": obj["metadata"]["resourceVersion"]
            for plural, root in _CHILDREN.items()
            for obj in self.cluster.items(f"{root}/namespaces/{self.namespace}/{plural}")
            if (obj["metadata"].get("labels") or {}).get("kaito.sh/workspace") == NAME
        }

    def pods(self) -> list[Json]:
        return self.cluster.items(f"/api/v1/namespaces/{self.namespace}/pods")

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
        try:
            return wait_until(condition, what, seconds)
        except AssertionError as error:
            found = (self.workspace() or {}).get("status")
            raise AssertionError(f"{error}\n{found}\n{self._log()[-4000:]}") from None


def becomes_ready_and_says_when_it_is_not(flow: Flow, node: FakeNode) -> None:
    """Ready follows the pods, both ways (KAITO #931, #1493)."""
    flow.create()
    flow.until(lambda: len(flow.children()) == 5, "all children there")
    flow.until(flow.pods, "a pod")
    assert flow.condition("WorkspaceReady")["status"] == "False"
    node.health = "ready"
    flow.until(lambda: flow.condition("WorkspaceReady").get("status") == "True", "ready")
    found = flow.workspace()
    assert found is not None
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert found["status"]["workerNodes"] == [node.name]
    node.health = "crash"
    flow.until(lambda: flow.condition("WorkspaceReady")["status"] == "False", "not ready")
    assert flow.condition("InferenceReady")["reason"] == "ContainerCrashLoopBackOff"
    node.health = "ready"
    flow.until(lambda: flow.condition("WorkspaceReady").get("status") == "True", "ready again")


def writes_nothing_where_nothing_changes(flow: Flow, seconds: float = 15.0) -> None:
    """Two listings and more pass; not one version moves.

    The StatefulSet's own controller may write its status late, so its version is not looked at.
    """

    def versions() -> dict[str, str]:
        found = flow.workspace()
        assert found is not None
        kept = {k: v for k, v in flow.children().items() if not k.startswith("statefulsets")}
        return {**kept, "workspace": found["metadata"]["resourceVersion"]}

    before = versions()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert versions() == before
        time.sleep(0.5)


def rolls_out_another_image(flow: Flow) -> None:
    options = {"presetOptions": {"image": f"{IMAGE}:2"}}
    flow.cluster.merge(f"{flow.workspaces}/{NAME}", {"inference": {"preset": options}})

    def replaced() -> bool:
        images = [pod["spec"]["containers"][0]["image"] for pod in flow.pods()]
        return images == [f"{IMAGE}:2"]

    flow.until(replaced, "a pod of the new image")

    def judged() -> bool:
        found = flow.workspace()
        assert found is not None
        ready = flow.condition("WorkspaceReady")
        same = ready.get("observedGeneration") == found["metadata"]["generation"]
        return bool(same and ready["status"] == "True")

    flow.until(judged, "ready with the new image")


def heals_what_is_deleted_by_hand(flow: Flow) -> None:
    path = f"/api/v1/namespaces/{flow.namespace}/services/{NAME}"
    before = flow.cluster.find(path)
    assert before is not None
    flow.cluster.remove(path)

    def healed() -> bool:
        found = flow.cluster.find(path)
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    flow.until(healed, "a new Service")


def tells_of_a_field_that_another_owns(flow: Flow) -> None:
    """C3: it is not fought."""
    path = f"/apis/policy/v1/namespaces/{flow.namespace}/poddisruptionbudgets/{NAME}"
    there = flow.cluster.find(path)
    assert there is not None
    field = "maxUnavailable" if "maxUnavailable" in there["spec"] else "minAvailable"
    flow.cluster.merge(path, {"spec": {field: 7}})
    flow.until(
        lambda: flow.condition("InferenceReady").get("reason") == "WriteRejected", "told of it"
    )
    found = flow.cluster.find(path)
    assert found is not None
    assert found["spec"][field] == 7
    flow.cluster.remove(path)
    flow.until(
        lambda: flow.condition("InferenceReady").get("status") == "True", "made anew and ready"
    )


def leaves_nothing_behind(flow: Flow) -> None:
    flow.cluster.remove(f"{flow.workspaces}/{NAME}")
    flow.until(lambda: flow.workspace() is None, "the Workspace gone")
    flow.until(lambda: not flow.children(), "the children gone")
    flow.until(lambda: not flow.pods(), "the pods gone")


def makes_nothing_for_what_does_not_fit(flow: Flow) -> None:
    flow.create("llama-2-70b-chat")
    found = flow.until(lambda: flow.condition("ResourceReady"), "judged")
    assert (found["status"], found["reason"]) == ("False", "DoesNotFit")
    assert flow.children() == {}
    leaves_nothing_behind(flow)
