"""Both charts as Helm 4 installs, upgrades and uninstalls them: hooks, keys, the CRD."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from berth.controller.rbac import GRANTS
from charts.api_server import ApiServer, api_server
from charts.rendered import CHARTS, Object, render
from cluster.fake_api import FakeApi

GPU = "nvidia.com/gpu"
_CRD = "workspaces.kaito.sh"
_SECONDS = 60  # for what takes two


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    """With one ready node of four L4."""
    nodes = FakeApi()
    nodes.add_node("gpu-1")
    with api_server(tmp_path) as running:
        for node in nodes.nodes:
            running.put("nodes", {"apiVersion": "v1", "kind": "Node", **node})
        yield running


@pytest.fixture
def helm(api: ApiServer) -> Iterator[helm_python.Config]:
    with helm_python.Config(
        kubeconfig_path=api.kubeconfig, namespace="ai", storage_driver="memory"
    ) as config:
        yield config


def install(helm: helm_python.Config, chart: str, name: str, **values: Any) -> Any:
    return helm.install(CHARTS / chart, name, values, timeout=_SECONDS, wait="hookOnly")


def upgrade(helm: helm_python.Config, chart: str, name: str, **values: Any) -> Any:
    return helm.upgrade(CHARTS / chart, name, values, timeout=_SECONDS, wait="hookOnly")


def key_of(api: ApiServer, secret: str) -> str:
    data = api.objects["secrets", "ai", secret]["data"]
    return base64.b64decode(data["BERTH_API_KEY"]).decode()


def test_a_model_that_does_not_fit_is_not_installed_and_the_reason_is_read(
    api: ApiServer, helm: helm_python.Config
) -> None:
    with pytest.raises(helm_python.HelmReleaseError, match=r"pre-install.*llama-check"):
        install(helm, "model", "llama", model="llama-2-70b-chat", gpus=8)
    assert api.names("statefulsets") == api.names("services") == api.names("secrets") == []
    # The Job and its pod stay with their words, which Helm has fetched; the rights are gone.
    assert api.names("jobs") == ["llama-check"]
    assert "llama-2-70b-chat cannot be placed now:" in api.logs["llama-check-x"]
    assert api.logs_read == ["llama-check-x"]
    for kind in ("clusterroles", "clusterrolebindings", "serviceaccounts"):
        assert api.names(kind) == []


def test_a_model_that_fits_is_installed_and_the_check_leaves_nothing(
    api: ApiServer, helm: helm_python.Config
) -> None:
    done = install(helm, "model", "llama", model="llama-2-7b-chat", gpus=1)
    assert done["status"] == "deployed"
    assert "llama-2-7b-chat can be placed now on: gpu-1" in api.logs["llama-check-x"]
    order = [name for name in api.created if not name.startswith("Pod/")]
    hook = [name for name in order if name.endswith("-check")]
    assert order[1 : len(hook) + 1] == hook  # after the node, before everything else
    assert api.names("jobs") == api.names("clusterroles") == []
    assert api.names("statefulsets") == ["llama"]
    assert api.names("serviceaccounts") == ["llama"]


def test_after_a_failure_it_can_be_tried_again(api: ApiServer, helm: helm_python.Config) -> None:
    with pytest.raises(helm_python.HelmReleaseError):
        install(helm, "model", "llama", model="llama-2-70b-chat", gpus=8)
    upgrade(helm, "model", "llama", model="llama-2-7b-chat", gpus=1)
    assert api.names("statefulsets") == ["llama"]
    assert api.names("jobs") == []


def test_an_upgrade_keeps_the_key_and_does_not_count_its_own_pods(
    api: ApiServer, helm: helm_python.Config
) -> None:
    values: Any = {"model": "llama-2-13b-chat", "gpus": 4}
    install(helm, "model", "llama", **values)
    key = key_of(api, "llama-keys")
    template = api.objects["statefulsets", "ai", "llama"]["spec"]["template"]
    running = {**template["spec"], "nodeName": "gpu-1"}
    place = {"name": "llama-0", "namespace": "ai", "labels": template["metadata"]["labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": place, "spec": running}
    api.put("pods", {**pod, "status": {"phase": "Running"}})
    upgrade(helm, "model", "llama", graceSeconds=60, **values)
    assert key_of(api, "llama-keys") == key
    with pytest.raises(helm_python.HelmReleaseError):
        install(helm, "model", "second", **values)
    assert "0 of 4 GPUs are free, and the pod asks for 4" in api.logs["second-check-x"]


def test_own_keys_take_the_place_of_the_one_that_was_made(
    api: ApiServer, helm: helm_python.Config
) -> None:
    off = {"enabled": False}
    install(helm, "model", "pocket", check=off)
    upgrade(helm, "model", "pocket", check=off, keys={"values": ["my-own-key"]})
    assert key_of(api, "pocket-keys") == "my-own-key"
    assert api.names("jobs") == []


def test_everything_that_is_rendered_is_made_and_uninstalled(
    api: ApiServer, helm: helm_python.Config
) -> None:
    install(helm, "berth", "berth")
    made = {(item["kind"], item["metadata"]["name"]) for item in api.objects.values()}
    wanted = render("berth", name="berth").objects
    assert {(item["kind"], item["metadata"]["name"]) for item in wanted} <= made
    assert api.created[1] != "Deployment/berth"
    assert api.created.index(f"CustomResourceDefinition/{_CRD}") < api.created.index(
        "Deployment/berth"
    )
    helm.uninstall("berth", timeout=_SECONDS)
    assert {plural for plural, _, _ in api.objects} == {"nodes", "customresourcedefinitions"}


def test_the_crd_that_stayed_is_taken_up_by_the_next_install(
    api: ApiServer, helm: helm_python.Config
) -> None:
    install(helm, "berth", "berth")
    helm.uninstall("berth", timeout=_SECONDS)
    before = api.objects["customresourcedefinitions", "", _CRD]["metadata"]["uid"]
    install(helm, "berth", "berth")
    assert api.objects["customresourcedefinitions", "", _CRD]["metadata"]["uid"] == before


def test_an_upgrade_upgrades_the_crd(api: ApiServer, helm: helm_python.Config) -> None:
    install(helm, "berth", "berth", crd={"keep": False})
    crd = api.objects["customresourcedefinitions", "", _CRD]
    assert "helm.sh/resource-policy" not in crd["metadata"]["annotations"]
    upgrade(helm, "berth", "berth", crd={"keep": True})
    crd = api.objects["customresourcedefinitions", "", _CRD]
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_crd_of_somebody_else_is_not_overwritten(
    api: ApiServer, helm: helm_python.Config
) -> None:
    other: Object = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    api.put("customresourcedefinitions", {**other, "metadata": {"name": _CRD}, "spec": {}})
    with pytest.raises(helm_python.HelmReleaseError, match=_CRD):
        install(helm, "berth", "berth")
    assert api.objects["customresourcedefinitions", "", _CRD]["spec"] == {}
    install(helm, "berth", "second", crd={"install": False})
    assert api.names("deployments") == ["second-berth"]


def test_namespaced_roles_are_made_where_they_are_needed(
    api: ApiServer, helm: helm_python.Config
) -> None:
    install(helm, "berth", "berth", watchNamespaces=["team-a", "team-b"])
    places = sorted(namespace for kind, namespace, _ in api.objects if kind == "roles")
    assert places == ["ai", "team-a", "team-b"]
    (role,) = [item for (kind, _, _), item in api.objects.items() if kind == "clusterroles"]
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {grant.resource for grant in GRANTS if grant.scope == "cluster"}
