"""The StatefulSet controller: pods by number, made anew from the last when the template changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berth.controller.kinds import POD, STATEFUL_SET, Object
from berth.workspace.names import digest
from controller.simulator.reports import is_ready
from controller.simulator.server import Server


def scale(server: Server, workload: Object) -> None:
    m, spec = workload["metadata"], workload["spec"]
    if "deletionTimestamp" in m:
        return
    revision = f"{m['name']}-{digest(repr(_sorted(spec['template'])), 10)}"
    wanted = range(spec.get("replicas", 1))
    pods = {
        pod["metadata"]["name"]: pod
        for pod in server.search(POD, m["namespace"])
        if _owned(pod, workload)
    }
    for index in wanted:
        name = f"{m['name']}-{index}"
        free = server.find(POD, m["namespace"], name) is None
        if name not in pods and free and m["namespace"] not in server.going:
            pods[name] = _make_pod(server, workload, name, index, revision)
    surplus = [p for n, p in pods.items() if int(n.rsplit("-", 1)[1]) not in wanted]
    for pod in surplus:
        delete_pod(server, pod)
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _roll(server, workload, pods, revision)
    live = [p for p in pods.values() if "deletionTimestamp" not in p["metadata"]]
    fresh = [p for p in live if _revision(p) == revision]
    ready = [p for p in live if is_ready(p)]
    known = (workload.get("status") or {}).get("currentRevision", revision)
    done = len(fresh) == len(ready) == len(wanted)
    server.set_status(
        STATEFUL_SET,
        workload,
        observedGeneration=m["generation"],
        replicas=len(pods),
        readyReplicas=len(ready),
        availableReplicas=len(ready),
        updatedReplicas=len(fresh),
        currentReplicas=len(live),
        updateRevision=revision,
        currentRevision=revision if done else known,
    )


def _roll(server: Server, workload: Object, pods: Mapping[str, Object], revision: str) -> None:
    """One pod at a time, from the last: the next only when the new one is ready."""
    for index in reversed(range(workload["spec"].get("replicas", 1))):
        pod = pods.get(f"{workload['metadata']['name']}-{index}")
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return
        if _revision(pod) != revision:
            delete_pod(server, pod)
            return
        if not is_ready(pod):
            return


def _make_pod(
    server: Server, workload: Object, name: str, index: int, revision: str
) -> dict[str, Any]:
    m, template = workload["metadata"], workload["spec"]["template"]
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": m["name"]}
    return server.create(
        POD,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": m["namespace"],
                "name": name,
                "labels": {
                    **(template["metadata"].get("labels") or {}),
                    "controller-revision-hash": revision,
                    "statefulset.kubernetes.io/pod-name": name,
                    "apps.kubernetes.io/pod-index": str(index),
                },
                "annotations": dict(template["metadata"].get("annotations") or {}),
                "ownerReferences": [{**owner, "uid": m["uid"], "controller": True}],
            },
            "spec": {**template["spec"], "hostname": name},
            "status": {"phase": "Pending"},
        },
        manager="kube-controller-manager",
    )


def delete_pod(server: Server, pod: Object) -> None:
    """As kubelet does it: gone when the process has ended."""
    m = pod["metadata"]
    live = server.find(POD, m["namespace"], m["name"])
    if live is None or live["metadata"]["uid"] != m["uid"]:
        return
    if "deletionTimestamp" not in live["metadata"]:
        held = {**live, "metadata": {**live["metadata"], "finalizers": ["kubelet"]}}
        server.replace(POD, held, "kubelet")
        server.delete(POD, m["namespace"], m["name"])


def _owned(pod: Object, workload: Object) -> bool:
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == workload["metadata"]["uid"] for owner in owners)


def _revision(pod: Object) -> str:
    return str(pod["metadata"]["labels"].get("controller-revision-hash"))


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return sorted((key, _sorted(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return [_sorted(inner) for inner in value]
    return value
