"""Nodes and what their pods have requested, from the API server to berth.fit.placement.Node."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.cluster.quantity import parse_quantity, pod_total
from berth.fit.placement import GPU_RESOURCE, Node, Taint

_PAGE = 500  # objects an answer: a large cluster must not come in one
_TIMEOUT = (5.0, 30.0)  # seconds to connect, to answer
# Pods that have ended hold nothing any more.
_LIVING = "status.phase!=Succeeded,status.phase!=Failed"


class ClusterError(Exception):
    """The API server cannot be reached, or does not let us read; the message is a sentence."""


def connect(kubeconfig: Path | None = None, context: str | None = None) -> Any:
    """A CoreV1Api: of the pod's own service account in a cluster, else of the kubeconfig.

    Raises:
        ClusterError: neither is there, or it cannot be used.
    """
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    settings = client.Configuration()
    try:
        if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=settings
            )
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=None if kubeconfig is None else str(kubeconfig),
                context=context,
                client_configuration=settings,
            )
    except (ConfigException, OSError) as error:
        raise ClusterError(f"no cluster to ask: {error}") from error
    settings.retries = 2
    return client.CoreV1Api(client.ApiClient(settings))


@dataclass(frozen=True, slots=True)
class PodsOf:
    """The pods of one namespace that have these labels."""

    namespace: str
    labels: Mapping[str, str]

    def __contains__(self, pod: Any) -> bool:
        has = pod.metadata.labels or {}
        return pod.metadata.namespace == self.namespace and all(
            has.get(key) == value for key, value in self.labels.items()
        )


def read_nodes(api: Any, replacing: PodsOf | None = None) -> list[Node]:
    """Every node, with the sum of what its pods request, those of `replacing` left out.

    Needs `list` of nodes and of pods in all namespaces. Raises ClusterError.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        nodes = list(_pages(api.list_node))
        pods = _pages(api.list_pod_for_all_namespaces, field_selector=_LIVING)
        gpus: dict[str, int] = defaultdict(int)
        memory: dict[str, int] = defaultdict(int)
        for pod in pods:
            if pod.spec.node_name and (replacing is None or pod not in replacing):
                gpus[pod.spec.node_name] += pod_request(pod, GPU_RESOURCE)
                memory[pod.spec.node_name] += pod_request(pod, "memory")
    except ApiException as error:
        raise ClusterError(_api_error(error)) from error
    except (HTTPError, OSError) as error:
        raise ClusterError(f"the API server cannot be reached: {type(error).__name__}") from error
    except ValueError as error:  # of the client, whose models are strict, or of a quantity
        words = str(error).replace("\n", " ")[:300]
        raise ClusterError(f"a node or pod cannot be understood: {words}") from error
    try:
        return [_node(node, gpus[node.metadata.name], memory[node.metadata.name]) for node in nodes]
    except ValueError as error:
        raise ClusterError(f"a node cannot be understood: {error}") from error


def _api_error(error: Any) -> str:
    if error.status in (401, 403):
        return (
            f"the API server answers {error.status}: `list` of nodes and of pods in all "
            "namespaces is needed (ClusterRole)"
        )
    return f"the API server answers {error.status} {error.reason}"


def _pages(listing: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
    """Every item, page after page."""
    token = None
    while True:
        answer = listing(limit=_PAGE, _continue=token, _request_timeout=_TIMEOUT, **arguments)
        yield from answer.items
        token = answer.metadata._continue
        if not token:
            return


def pod_request(pod: Any, resource: str) -> int:
    """What the scheduler counts for a pod."""
    return pod_total(
        (_request_of(container, resource) for container in pod.spec.containers),
        (
            (_request_of(one, resource), getattr(one, "restart_policy", None) == "Always")
            for one in pod.spec.init_containers or []
        ),
    )


def _request_of(container: Any, resource: str) -> int:
    """A limit without a request is a request."""
    resources = container.resources
    if resources is None:
        return 0
    for given in (resources.requests, resources.limits):
        if given and resource in given:
            return parse_quantity(given[resource])
    return 0


def _node(node: Any, gpus: int, memory: int) -> Node:
    allocatable = node.status.allocatable or {}
    conditions = node.status.conditions or []
    return Node(
        name=node.metadata.name,
        labels=dict(node.metadata.labels or {}),
        taints=tuple(
            Taint(taint.key, taint.value or "", taint.effect) for taint in node.spec.taints or []
        ),
        ready=any(c.type == "Ready" and c.status == "True" for c in conditions),
        cordoned=bool(node.spec.unschedulable),
        gpus_allocatable=(
            parse_quantity(allocatable[GPU_RESOURCE]) if GPU_RESOURCE in allocatable else None
        ),
        gpus_requested=gpus,
        memory_allocatable=parse_quantity(allocatable.get("memory", "0")),
        memory_requested=memory,
    )
