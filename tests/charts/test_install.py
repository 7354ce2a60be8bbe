"""Both charts as Helm 4 installs, upgrades and uninstalls them: hooks, keys, the CRD."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from berth.controller.rbac import GRANTS
from charts.api_server import ApiServer, api_server
from charts.rendered import CHARTS, Object, container, render
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
    wanted = [item for item in render("berth", name="berth").objects if not _after(item)]
    assert {(item["kind"], item["metadata"]["name"]) for item in wanted} <= made
    assert api.created[1] != "Deployment/berth"
    assert api.created.index(f"CustomResourceDefinition/{_CRD}") < api.created.index(
        "Deployment/berth"
    )
    helm.uninstall("berth", timeout=_SECONDS)
    assert {plural for plural, _, _ in api.objects} == {"nodes", "customresourcedefinitions"}


def _after(item: Object) -> bool:
    """Whether it is only made when the release goes."""
    return item["metadata"].get("annotations", {}).get("helm.sh/hook") == "post-delete"


def test_the_lease_goes_with_the_release_so_that_the_next_one_need_not_wait(
    api: ApiServer, helm: helm_python.Config
) -> None:
    """Their rights go before the pods do: the leader cannot give its lease back."""
    install(helm, "berth", "berth")
    held = {"holderIdentity": "berth-0_1234", "leaseDurationSeconds": 15}
    lease: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": held}
    api.put("leases", {**lease, "metadata": {"name": "berth", "namespace": "ai"}})
    assert settings_name() == "berth"
    upgrade(helm, "berth", "berth", replicas=1)
    assert api.objects["leases", "ai", "berth"]["spec"] == held, "an upgrade lets it be"
    helm.uninstall("berth", timeout=_SECONDS)
    assert api.names("leases") == []
    assert api.names("rolebindings") == []


def settings_name() -> str:
    """The lease that the controllers of a release called berth take."""
    pod = render("berth", name="berth").one("Deployment")["spec"]["template"]
    (name,) = [word for word in container(pod)["args"] if word.startswith("--lease-name=")]
    return name.removeprefix("--lease-name=")


def workspace(api: ApiServer, name: str, namespace: str) -> None:
    api.put(
        "workspaces",
        {
            "apiVersion": "kaito.sh/v1beta1",
            "kind": "Workspace",
            "metadata": {"name": name, "namespace": namespace},
        },
    )


def keys(api: ApiServer, namespace: str, **data: str) -> None:
    place = {"name": "berth-keys", "namespace": namespace}
    api.put("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": place, "data": data})


def test_keys_that_a_namespace_lacks_are_said_before_anything_is_changed(
    api: ApiServer, helm: helm_python.Config
) -> None:
    install(helm, "berth", "berth")
    workspace(api, "pocket", "team-a")
    workspace(api, "falcon", "team-b")
    workspace(api, "llama", "team-b")
    keys(api, "team-a", BERTH_API_KEY="a2V5")
    before = copy.deepcopy(api.objects["deployments", "ai", "berth"])
    asked = {"models": {"apiKeySecret": "berth-keys"}}
    with pytest.raises(helm_python.HelmReleaseError) as raised:
        upgrade(helm, "berth", "berth", **asked)
    said = str(raised.value)
    assert "namespace team-b has no Secret berth-keys with the key BERTH_API_KEY" in said
    assert "the pods of falcon, llama would end there" in said
    assert "kubectl create secret generic berth-keys --namespace team-b" in said
    assert api.objects["deployments", "ai", "berth"] == before

    keys(api, "team-b", OTHER="a2V5")
    with pytest.raises(helm_python.HelmReleaseError, match="with the key BERTH_API_KEY"):
        upgrade(helm, "berth", "berth", **asked)
    keys(api, "team-b", BERTH_API_KEY="a2V5")
    upgrade(helm, "berth", "berth", **asked)
    (args,) = [
        of["args"]
        for of in api.objects["deployments", "ai", "berth"]["spec"]["template"]["spec"][
            "containers"
        ]
    ]
    assert "--api-key-secret=berth-keys" in args


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"keys": {"existingSecret": "berth-keys"}}, "BERTH_API_KEY"),
        ({"weights": {"hub": {"tokenSecret": "berth-keys"}}}, "HF_TOKEN"),
    ],
)
def test_a_secret_that_an_upgraded_model_lacks_is_said_before_its_pod_is_ended(
    api: ApiServer, helm: helm_python.Config, values: Any, key: str
) -> None:
    off = {"enabled": False}
    install(helm, "model", "pocket", check=off)
    before = copy.deepcopy(api.objects["statefulsets", "ai", "pocket"])
    with pytest.raises(helm_python.HelmReleaseError) as raised:
        upgrade(helm, "model", "pocket", check=off, **values)
    assert f"namespace ai has no Secret of that name with the key {key}" in str(raised.value)
    assert api.objects["statefulsets", "ai", "pocket"] == before
    keys(api, "ai", **{key: "a2V5"})
    upgrade(helm, "model", "pocket", check=off, **values)
    assert api.objects["statefulsets", "ai", "pocket"] != before


def test_only_the_namespaces_that_are_served_need_keys_and_the_look_can_be_left_out(
    api: ApiServer, helm: helm_python.Config
) -> None:
    workspace(api, "pocket", "elsewhere")
    asked = {"apiKeySecret": "berth-keys"}
    install(helm, "berth", "berth", models=asked, watchNamespaces=["team-a"])
    with pytest.raises(helm_python.HelmReleaseError, match="namespace elsewhere has no Secret"):
        upgrade(helm, "berth", "berth", models=asked)
    upgrade(helm, "berth", "berth", models={**asked, "apiKeySecretCheck": False})


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
