"""A real API server: the chart, the examples, and a Workspace from its creation to its end.

Needs Kubernetes 1.32 or newer and the rights of an administrator; no GPU, for the node is only an
object whose heartbeat and pods the test keeps. The controller runs on this machine, with the
token of the chart's service account: what the chart does not grant, fails here.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_real import flows
from cluster_real.client import Cluster, FakeNode, Json, Refused, wait_until
from cluster_real.flows import Flow
from cluster_real.process import controller

_VARIABLE = "BERTH_TEST_KUBECONFIG"
_ROOT = Path(__file__).parents[2]
_EXAMPLES = sorted((_ROOT / "workspace-examples").rglob("*.yaml"))
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workspaces.kaito.sh"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        _VARIABLE not in os.environ,
        reason=f"{_VARIABLE} should be the path of a kubeconfig of a cluster for tests "
        "(Kubernetes 1.32 or newer, nodes may be fake)",
    ),
]


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    found = Cluster(Path(os.environ[_VARIABLE]))
    version = found.request("GET", "/version")
    minor = int(re.sub(r"\D", "", version["minor"]))
    assert (int(version["major"]), minor) >= (1, 32), f"Kubernetes {version['gitVersion']} is older"
    return found


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of its own, which is taken away with all that is in it."""
    name = f"berth-test-{secrets.token_hex(4)}"
    metadata = {"name": name}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    cluster.create("/api/v1/namespaces", namespace)
    yield name
    cluster.remove(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def installed(cluster: Cluster, namespace: str) -> Iterator[str]:
    """The chart, without pods of its own. Yields the name of its service account."""
    import helm_python

    with helm_python.Config(
        kubeconfig_path=str(cluster.kubeconfig), namespace=namespace, storage_driver="secret"
    ) as config:
        chart = _ROOT / "charts" / "berth"
        there_before = cluster.find(_CRD) is not None
        values = {"replicas": 0, "watchNamespaces": [namespace]}
        config.install(chart, "berth", values, timeout=120, wait="hookOnly")
        accounts = cluster.items(f"/api/v1/namespaces/{namespace}/serviceaccounts")
        ours = [a["metadata"]["name"] for a in accounts if a["metadata"]["name"] != "default"]
        wait_until(lambda: _is_established(cluster), "the CRD served")
        yield ours[0]
        config.uninstall("berth")
        if not there_before:
            cluster.remove(_CRD)  # Helm keeps it, and another release could not take it over


def _is_established(cluster: Cluster) -> bool:
    found = cluster.find(_CRD) or {}
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@pytest.fixture(scope="module")
def kubeconfig(
    cluster: Cluster, namespace: str, installed: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Of the chart's service account."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{installed}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    answer = cluster.request("POST", path, {**asked, "spec": {"expirationSeconds": 3600}})
    configuration = cluster.configuration
    server: Json = {"server": configuration.host}
    if configuration.ssl_ca_cert:
        server["certificate-authority"] = str(configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        server["insecure-skip-tls-verify"] = True
    named = {"name": "berth"}
    file = tmp_path_factory.mktemp("account") / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "berth",
                "clusters": [{**named, "cluster": server}],
                "contexts": [{**named, "context": {"cluster": "berth", "user": "berth"}}],
                "users": [{**named, "user": {"token": answer["status"]["token"]}}],
            }
        )
    )
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    "file", _EXAMPLES, ids=lambda file: str(file.relative_to(_ROOT / "workspace-examples"))
)
def test_every_example_is_accepted(
    cluster: Cluster, namespace: str, installed: str, file: Path
) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        if document["kind"] != "Workspace":
            continue
        version = document["apiVersion"]
        path = f"/apis/{version}/namespaces/{namespace}/workspaces"
        body = {**document, "metadata": {**document["metadata"], "namespace": namespace}}
        cluster.create(path, body, dryRun="All", fieldValidation="Strict")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inference": {}}, "Preset or Template must be specified"),
        (
            {
                "inference": {
                    "preset": {"name": "falcon-7b"},
                    # Whole: a missing field would be refused before any rule is looked at.
                    "template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}},
                }
            },
            "Preset and Template cannot be set at the same time",
        ),
        (
            {"inference": {"preset": {"name": "llama-2-7b", "accessMode": "private"}}},
            "When AccessMode is private, an image must be provided in PresetOptions",
        ),
        ({"resource": {"count": 0, "labelSelector": {"matchLabels": {"a": "b"}}}}, "count"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(sorted(value)),
)
def test_what_is_wrong_is_refused_with_a_sentence(
    cluster: Cluster, namespace: str, installed: str, changes: Json, said: str
) -> None:
    flow = Flow(cluster, namespace, "none", str)
    with pytest.raises(Refused) as caught:
        cluster.create(flow.workspaces, {**flow.manifest(), **changes}, dryRun="All")
    assert caught.value.status == 422
    assert said in caught.value.message


def test_from_creation_to_deletion(
    cluster: Cluster, namespace: str, kubeconfig: Path, tmp_path: Path
) -> None:
    """The same flows as on kmock, in the order in which a user would meet them."""
    watched: Any = (f"--namespace={namespace}", f"--lease-namespace={namespace}")
    lease = "--lease-name=berth"
    with (
        FakeNode(cluster, f"{namespace}-gpu", {"pool": namespace}) as node,
        controller(kubeconfig, tmp_path, *watched, lease) as process,
    ):
        flow = Flow(cluster, namespace, namespace, process.log)
        flows.makes_nothing_for_what_does_not_fit(flow)
        flows.becomes_ready_and_says_when_it_is_not(flow, node)
        flows.writes_nothing_where_nothing_changes(flow, seconds=30)
        flows.rolls_out_another_image(flow)
        flows.heals_what_is_deleted_by_hand(flow)
        flows.tells_of_a_field_that_another_owns(flow)
        flows.leaves_nothing_behind(flow)
    told = process.log()
    assert "Forbidden" not in told, told
    assert "is forbidden" not in told, told
    assert "Traceback" not in told, told
