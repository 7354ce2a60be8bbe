"""The shell of `berth check`: an API server, and what it says of nodes and pods, as plain JSON.

No model classes of the client: they refuse what a newer Kubernetes says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from berth.cluster.fields import Json, mapping, name_of, text, words
from berth.cluster.nodes import placement_nodes, unreadable
from berth.fit.placement import Node

_PAGE = 500  # objects an answer: a large cluster must not come in one
_TIMEOUT = (5.0, 30.0)  # seconds to connect, to answer
# Pods that have ended hold nothing any more.
_LIVING = "status.phase!=Succeeded,status.phase!=Failed"
_LONGEST = 300  # of what cannot be understood, in a message


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
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
        # What the library says of a file that is no kubeconfig.
        where = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        said = " ".join(str(error).split())
        raise ClusterError(f"no cluster to ask: {where} is no kubeconfig: {said}") from error
    settings.retries = 2
    return client.CoreV1Api(client.ApiClient(settings))


@dataclass(frozen=True, slots=True)
class PodsOf:
    """The pods of one namespace that have these labels."""

    namespace: str
    labels: Mapping[str, str]

    def __contains__(self, pod: Json) -> bool:
        has = words(pod, "metadata", "labels")
        return text(pod, "metadata", "namespace") == self.namespace and all(
            has.get(key) == value for key, value in self.labels.items()
        )


def read_nodes(api: Any, replacing: PodsOf | None = None) -> list[Node]:
    """Every node, with the sum of what its pods request, those of `replacing` left out.

    Needs `list` of nodes and of pods in all namespaces. Raises ClusterError.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        nodes = [_readable(node, "node") for node in _pages(api.list_node)]
        pods = _pages(api.list_pod_for_all_namespaces, field_selector=_LIVING)
        return placement_nodes(
            nodes,
            (_readable(pod, "pod") for pod in pods if replacing is None or pod not in replacing),
        )
    except ApiException as error:
        raise ClusterError(_api_error(error)) from error
    except (HTTPError, OSError) as error:
        raise ClusterError(f"the API server cannot be reached: {type(error).__name__}") from error
    except ValueError as error:  # what came is no JSON
        raise _not_understood("the API server's answer", str(error)) from error


def _api_error(error: Any) -> str:
    if error.status in (401, 403):
        return (
            f"the API server answers {error.status}: `list` of nodes and of pods in all "
            "namespaces is needed (ClusterRole)"
        )
    return f"the API server answers {error.status} {error.reason}"


def _pages(listing: Callable[..., Any], **arguments: Any) -> Iterator[Json]:
    """Every item, page after page."""
    token = None
    while True:
        answer = json.loads(
            listing(
                limit=_PAGE,
                _continue=token,
                _request_timeout=_TIMEOUT,
                _preload_content=False,
                **arguments,
            ).data
        )
        found = mapping(answer).get("items")
        if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
            raise _not_understood("the API server's answer", "it is no list of objects")
        yield from found
        token = text(answer, "metadata", "continue")
        if not token:
            return


def _readable(obj: Json, kind: str) -> Json:
    """The object as it is. A number that counted as none would promise room that is not there."""
    said = unreadable(obj)
    if said:
        namespace = text(obj, "metadata", "namespace")
        raise _not_understood(f"{kind} {namespace}{'/' * bool(namespace)}{name_of(obj)}", said)
    return obj


def _not_understood(what: str, why: str) -> ClusterError:
    words = why.replace("\n", " ")[:_LONGEST]
    return ClusterError(f"{what} cannot be understood: {words}")
