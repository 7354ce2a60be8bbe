"""charts/berth: the controller's Deployment and what stands around it."""

from __future__ import annotations

import re
from typing import Any

import click
import helm_python
import pytest
import yaml

from berth.cli.controller import controller
from berth.images.recipe import recipe_without_model
from berth.workspace.observed import Settings
from charts.planned import settings
from charts.rendered import ROOT, Object, container, render
from charts.variants import BERTH


def one(kind: str, name: str | None = None, **values: Any) -> Object:
    return render("berth", values).one(kind, name)


def pod(**values: Any) -> Object:
    return dict(one("Deployment", **values)["spec"]["template"])


@pytest.mark.parametrize("values", BERTH.values(), ids=BERTH.keys())
def test_the_controller_understands_what_the_chart_says_to_it(values: Object) -> None:
    assert settings(**values).port == 8080


def test_by_default_it_watches_everything_and_provisions_nothing() -> None:
    found = settings()
    assert found.namespaces == ()
    assert (found.lease, found.lease_namespace, found.lease_name) == (True, "ai", "pocket-berth")
    assert not found.workspace.provisioning
    assert found.workspace.network_policy
    assert found.workspace.api_key_secret == ""


def test_every_image_is_called_by_default_what_berth_build_calls_it() -> None:
    built = {
        (name, variant): recipe_without_model(name, variant=variant).tag
        for name in ("base", "controller")
        for variant in ("cpu", "cuda")
    }
    cpu, cuda = built["base", "cpu"], built["base", "cuda"]
    for found in (settings().workspace, Settings()):  # the chart's, and berth plan's
        assert (found.runtime_image, found.runtime_image_gpu) == (cpu, cuda)
        assert found.model_registry == found.model_tag == ""
    assert container(pod())["image"] == built["controller", "cpu"]
    for gpus, image in ((0, cpu), (1, cuda)):
        model = render("model", {"gpus": gpus})
        assert container(model.one("StatefulSet")["spec"]["template"])["image"] == image
        check = container(model.one("Job")["spec"]["template"])
        assert check["image"] == built["controller", "cpu"]


def test_what_the_owner_says_about_models_reaches_the_planner() -> None:
    found = settings(**BERTH["models"]).workspace
    assert found.runtime_image == "registry.example.org/berth:1"
    assert found.runtime_image_gpu == "registry.example.org/berth:1-cuda"
    assert (found.model_registry, found.model_tag) == ("registry.example.org/models", "2")
    assert found.image_pull_policy == "Always"
    assert found.storage_class == "fast"
    assert found.api_key_secret == "berth-keys"
    assert found.grace_seconds == 60
    assert not found.network_policy


def test_provisioning_names_the_node_class() -> None:
    found = settings(**BERTH["provisioning"]).workspace
    assert found.provisioning
    assert found.node_class == BERTH["provisioning"]["provisioning"]["nodeClass"]
    with pytest.raises(helm_python.HelmRenderError, match=r"provisioning\.nodeClass\.group is"):
        render("berth", {"provisioning": {"enabled": True}})


def test_namespaces_are_the_ones_that_are_named() -> None:
    assert settings(watchNamespaces=["team-a", "team-b"]).namespaces == ("team-a", "team-b")


def test_two_copies_wait_for_one_lease_on_different_nodes() -> None:
    assert one("Deployment")["spec"]["replicas"] == 2
    (spread,) = pod()["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"].items() <= pod()["metadata"]["labels"].items()


def test_it_is_asked_whether_it_lives_and_works() -> None:
    of = container(pod())
    assert of["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert of["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert pod()["spec"]["terminationGracePeriodSeconds"] > settings().grace


def test_environment_of_services_is_kept_out() -> None:
    """A Service called berth-controller would set BERTH_CONTROLLER_PORT to an address."""
    assert pod()["spec"]["enableServiceLinks"] is False
    prefix = controller.context_settings["auto_envvar_prefix"]
    assert prefix == "BERTH_CONTROLLER"


def test_the_image_is_the_owners() -> None:
    assert container(pod())["image"] == "berth-controller:0.1.0"
    given = pod(**BERTH["placed"])
    digest = "sha256:" + "0" * 64
    assert container(given)["image"] == f"registry.example.org/berth-controller@{digest}"
    assert given["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert given["spec"]["serviceAccountName"] == "mine"
    assert given["spec"]["tolerations"] == [{"key": "a", "operator": "Exists"}]


def test_in_only_metrics_and_out_only_names_and_the_api_server() -> None:
    policy = one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": 8080, "protocol": "TCP"}]
    names, server = policy["egress"]
    assert {p["port"] for p in names["ports"]} == {53}
    assert {p["port"] for p in server["ports"]} == {443, 6443}
    assert "to" not in server


def test_egress_can_end_at_the_api_servers_addresses() -> None:
    policy = one("NetworkPolicy", **BERTH["observed"])["spec"]
    assert policy["egress"][1] == {
        "ports": [{"port": 6443, "protocol": "TCP"}],
        "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
    }
    assert policy["ingress"][0]["from"] == BERTH["observed"]["networkPolicy"]["metricsFrom"]


def test_prometheus_reads_every_copy() -> None:
    given = render("berth", {"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}}})
    monitor = given.one("ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prom"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [s for s in given.all("Service") if wanted <= s["metadata"]["labels"].items()]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_a_drain_takes_one_controller_at_a_time() -> None:
    assert one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_account_is_the_releases_or_one_that_is_there() -> None:
    account = one("ServiceAccount")
    assert account["metadata"]["name"] == pod()["spec"]["serviceAccountName"] == "pocket-berth"
    given = render("berth", BERTH["bare"])
    assert given.all("ServiceAccount") == []
    assert given.one("ClusterRoleBinding")["subjects"][0]["name"] == "mine"


def crd(**values: Any) -> Object:
    return one("CustomResourceDefinition", **values)


def test_the_crd_is_the_published_one_and_stays_on_uninstall() -> None:
    given = crd()
    assert given["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    published = yaml.safe_load((ROOT / "api" / "kaito.sh_workspaces.yaml").read_text())
    assert given == published
    assert crd(crd={"keep": False}) == published


def test_the_crd_can_be_left_to_somebody_else() -> None:
    assert render("berth", {"crd": {"install": False}}).all("CustomResourceDefinition") == []


def test_helm_upgrades_the_crd_with_the_chart() -> None:
    """What lies in crds/ is installed once and never touched again."""
    assert not (ROOT / "charts" / "berth" / "crds").exists()
    assert render("berth").by_template["crd.yaml"]


def test_the_notes_first_workspace_is_one_and_goes_where_it_is_watched() -> None:
    said = render("berth", {"watchNamespaces": ["team-a"]}).notes
    text = re.search(r"<<END\n(.*?)\n  END\n", said, re.DOTALL)
    assert text is not None
    workspace = yaml.safe_load(re.sub("^  ", "", text[1], flags=re.MULTILINE))
    assert workspace["kind"] == "Workspace"
    assert workspace["inference"]["preset"]["name"] == "pocket"
    assert "kubectl apply --namespace team-a" in said
    assert "kubectl get workspaces --namespace default" in render("berth").notes


def test_the_notes_say_when_no_key_is_asked_for() -> None:
    assert "ask for no key" in render("berth").notes
    given = render("berth", {"models": {"apiKeySecret": "keys"}}).notes
    assert "ask for no key" not in given
    assert "Authorization: Bearer $KEY" in given


def test_wrong_arguments_would_be_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        controller.make_context("controller", ["--runtime-imag=x"])
