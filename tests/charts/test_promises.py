"""What holds for every object of both charts, whatever is set."""

from __future__ import annotations

import itertools
import json
from typing import Any

import helm_python
import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from charts.rendered import CHARTS, Object, Rendered, nested, render
from charts.variants import BERTH, MODEL, VARIANTS

# Kinds that the cluster has from elsewhere, and where their fields are described.
_FOREIGN = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute"}
# The oldest that Chart.yaml allows, and the newest that the package knows.
_KUBERNETES = ("1.32", "1.37")
# Kubernetes 1.32 has image volumes only behind a gate, with the same fields.

each = pytest.mark.parametrize(
    ("chart", "values"),
    [pytest.param(chart, values, id=f"{chart}-{name}") for chart, name, values in VARIANTS],
)


@pytest.fixture
def rendered(chart: str, values: Object) -> Rendered:
    return render(chart, values)


@each
def test_lint_finds_nothing(chart: str, values: Object) -> None:
    report = helm_python.lint(CHARTS / chart, values, strict=True, kube_version="v1.36.0")
    assert [m for m in report["messages"] if "icon" not in m["error"]] == []
    assert report["errors"] == []


@each
def test_every_object_is_one_that_kubernetes_knows(rendered: Rendered) -> None:
    for item in rendered.objects:
        if item["kind"] in _FOREIGN | {"CustomResourceDefinition"}:
            continue
        for version in _KUBERNETES:
            kubernetes_validate.validate(item, version, strict=True)


def _strings(schema: Object, given: Object) -> Object:
    """`given`, with every text that may be anything set to one that YAML would read as a number."""
    out = dict(given)
    for name, of in schema["properties"].items():
        if of.get("type") == "object" and "properties" in of:
            out[name] = _strings(of, given.get(name, {}))
        elif of.get("type") == "string" and not {"enum", "pattern"} & of.keys():
            out[name] = "0123"
    return out


@each
def test_a_name_of_digits_stays_a_text(chart: str, values: Object) -> None:
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    for item in render(chart, _strings(schema, values), name="123", namespace="456").objects:
        if item["kind"] not in _FOREIGN | {"CustomResourceDefinition"}:
            kubernetes_validate.validate(item, _KUBERNETES[-1], strict=True)
        assert isinstance(item["metadata"]["name"], str)


def test_the_check_above_does_find_a_wrong_field() -> None:
    item = render("model").one("StatefulSet")
    item["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(item, "1.37", strict=True)


@each
def test_pods_are_restricted(rendered: Rendered) -> None:
    """Pod Security Standards, restricted: every line that concerns us."""
    for name, template in rendered.pods():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            assert not spec.get(key), name
        for of in itertools.chain(spec["containers"], spec.get("initContainers", [])):
            context = of["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert not any("hostPort" in port for port in of.get("ports", [])), name
        kinds = {key for volume in spec["volumes"] for key in volume} - {"name"}
        allowed = {"emptyDir", "persistentVolumeClaim", "image", "configMap", "secret", "projected"}
        assert kinds <= allowed, name


@each
def test_files_of_images_are_read_only(rendered: Rendered, values: Object) -> None:
    said = values.get("securityContext", {}).get("readOnlyRootFilesystem", True)
    for name, template in rendered.pods():
        expected = said if name.startswith("StatefulSet") else True
        for of in template["spec"]["containers"]:
            assert of["securityContext"]["readOnlyRootFilesystem"] is expected, name
            # What has to be written has a place.
            assert "/tmp" in {mount["mountPath"] for mount in of["volumeMounts"]}, name


@each
def test_only_who_needs_the_api_server_has_a_token(rendered: Rendered) -> None:
    for name, template in rendered.pods():
        asks = name.startswith(("Job", "Deployment"))
        assert template["spec"]["automountServiceAccountToken"] is asks, name
    for account in rendered.all("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@each
def test_nobody_may_read_secrets_or_everything(rendered: Rendered) -> None:
    for role in rendered.all("Role") + rendered.all("ClusterRole"):
        for rule in role["rules"]:
            assert "secrets" not in rule["resources"]
            assert "*" not in rule["resources"] + rule["verbs"] + rule["apiGroups"]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


@each
def test_pods_request_what_they_take(rendered: Rendered) -> None:
    for name, template in rendered.pods():
        for of in template["spec"]["containers"]:
            assert {"cpu", "memory"} <= of["resources"]["requests"].keys(), name


@each
def test_the_last_words_of_a_container_are_in_its_status(rendered: Rendered) -> None:
    for name, template in rendered.pods():
        for of in template["spec"]["containers"]:
            assert of["terminationMessagePolicy"] == "FallbackToLogsOnError", name


@each
def test_selectors_find_the_pods_they_are_meant_for(rendered: Rendered) -> None:
    """One wrong label would leave a Service without pods, or a policy without effect."""
    pods = [
        template["metadata"]["labels"] | {"apps.kubernetes.io/pod-index": "0"}
        for name, template in rendered.pods()
        if not name.startswith("Job")
    ]
    selectors: list[dict[str, str]] = []
    for item in rendered.objects:
        spec: Any = item.get("spec", {})
        if item["kind"] == "Service":
            selectors.append(spec["selector"])
        elif item["kind"] in ("PodDisruptionBudget", "StatefulSet", "Deployment"):
            selectors.append(spec["selector"]["matchLabels"])
        elif item["kind"] == "NetworkPolicy":
            selectors.append(spec["podSelector"]["matchLabels"])
    assert selectors
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), selector


@each
def test_every_object_says_where_it_comes_from(rendered: Rendered) -> None:
    for item in rendered.objects:
        if item["kind"] == "CustomResourceDefinition":
            continue
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/part-of"] == "berth"
        where = item["metadata"].get("namespace")
        if item["kind"].startswith("Cluster"):
            assert where is None
        elif item["kind"] in ("Role", "RoleBinding"):
            assert where
        else:
            assert where == "ai"


def _names(rendered: Rendered) -> list[str]:
    return [item["metadata"]["name"] for item in rendered.objects]


@each
def test_names_stay_within_63_characters_and_apart(chart: str, values: Object) -> None:
    values = {key: value for key, value in values.items() if key != "fullnameOverride"}
    one, other = (
        render(chart, values, name="x" * 52 + end, namespace="n" * 63) for end in ("a", "b")
    )
    ours = {n for n in _names(one) if not n.startswith("workspaces.")}
    assert all(len(name) <= 63 for name in ours)
    shared = {"mine"}  # what the values themselves name
    assert not (ours & set(_names(other))) - shared
    for item in one.all("StatefulSet"):
        # A pod's label controller-revision-hash is the name, a dash and ten characters.
        assert len(item["metadata"]["name"]) <= 52


@pytest.mark.parametrize("chart", ["model", "berth"])
def test_a_name_of_ones_own_is_used_for_all(chart: str) -> None:
    found = _names(render(chart, {"fullnameOverride": "harbour"}))
    ours = [name for name in found if not name.startswith("workspaces.")]
    assert all("harbour" in name for name in ours)


@pytest.mark.parametrize("chart", ["model", "berth"])
def test_every_template_is_rendered_by_some_variant(chart: str) -> None:
    templates = {
        path.name
        for path in (CHARTS / chart / "templates").iterdir()
        if not path.name.startswith("_") and path.name != "NOTES.txt"
    }
    variants = MODEL if chart == "model" else BERTH
    used = {
        template
        for values in variants.values()
        for template, items in render(chart, values).by_template.items()
        if items
    }
    assert used == templates


@pytest.mark.parametrize(
    ("chart", "path", "value", "sentence"),
    [
        ("model", "gpu", 1, "additional properties 'gpu' not allowed"),
        ("model", "image.name", "x", "at '/image': additional properties 'name' not allowed"),
        ("model", "gpus", "one", "at '/gpus': got string, want integer"),
        ("model", "gpus", -1, "at '/gpus': minimum: got -1, want 0"),
        ("model", "nodes", 0, "at '/nodes': minimum: got 0, want 1"),
        ("model", "replicas", 1.5, "at '/replicas': got number, want integer"),
        ("model", "model", "", "at '/model': minLength: got 0, want 1"),
        ("model", "image.digest", "sha256:1", "at '/image/digest'"),
        ("model", "image.pullPolicy", "Sometimes", "'Always', 'IfNotPresent', 'Never'"),
        ("model", "image.pullSecrets", "pull", "at '/image/pullSecrets': got string, want array"),
        ("model", "weights.source", "s3", "at '/weights/source'"),
        ("model", "weights.hub.endpoint", "mirror.example.org", "at '/weights/hub/endpoint'"),
        ("model", "engine.kind", "vllm", "at '/engine/kind'"),
        ("model", "engine.extraArgs", [1], "at '/engine/extraArgs/0': got number, want string"),
        ("model", "keys.values", ["two words"], "at '/keys/values/0'"),
        ("model", "keys.values", ["a,b-and-more"], "at '/keys/values/0'"),
        ("model", "service.port", 70000, "at '/service/port': maximum: got 70,000"),
        ("model", "httpRoute.path", "llama", "at '/httpRoute/path'"),
        ("model", "autoscaling.type", "vpa", "at '/autoscaling/type'"),
        ("model", "autoscaling.minReplicas", 0, "at '/autoscaling/minReplicas'"),
        ("model", "tolerations", [{"effect": "Never"}], "at '/tolerations/0/effect'"),
        ("model", "tolerations", [{"keys": "a"}], "additional properties 'keys' not allowed"),
        ("model", "nodeSelector", {"a": True}, "at '/nodeSelector/a': got boolean, want string"),
        ("model", "startupMinutes", 0, "at '/startupMinutes'"),
        ("model", "securityContext.runAsUser", 0, "at '/securityContext/runAsUser'"),
        ("model", "serviceMonitor.interval", "15", "at '/serviceMonitor/interval'"),
        ("model", "fullnameOverride", "Harbour", "at '/fullnameOverride'"),
        ("model", "shmSize", "lots", "at '/shmSize'"),
        ("berth", "replica", 2, "additional properties 'replica' not allowed"),
        ("berth", "replicas", -1, "at '/replicas': minimum: got -1, want 0"),
        ("berth", "image.digest", "latest", "at '/image/digest'"),
        ("berth", "watchNamespaces", "ai", "at '/watchNamespaces': got string, want array"),
        ("berth", "watchNamespaces", ["AI"], "at '/watchNamespaces/0'"),
        ("berth", "watchNamespaces", ["a", "a"], "at '/watchNamespaces': items at 0 and 1 are"),
        ("berth", "models.images.gpu", "x", "additional properties 'gpu' not allowed"),
        ("berth", "models.graceSeconds", "30s", "at '/models/graceSeconds': got string"),
        ("berth", "provisioning.enabled", "yes", "at '/provisioning/enabled': got string"),
        ("berth", "crd.keep", 1, "at '/crd/keep': got number, want boolean"),
        ("berth", "networkPolicy.apiServerPorts", [], "at '/networkPolicy/apiServerPorts'"),
        ("berth", "networkPolicy.apiServerPorts", [0], "at '/networkPolicy/apiServerPorts/0'"),
        ("berth", "log.level", "warn", "at '/log/level': value must be one of 'debug', 'info'"),
        ("berth", "dashboard.labels", {"a": 1}, "at '/dashboard/labels/a'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    chart: str, path: str, value: Any, sentence: str
) -> None:
    with pytest.raises(helm_python.HelmValuesError) as raised:
        render(chart, nested(path, value))
    assert sentence in str(raised.value)


@pytest.mark.parametrize("chart", ["model", "berth"])
def test_a_parent_charts_globals_are_no_mistake(chart: str) -> None:
    assert render(chart, {"global": {"imageRegistry": "x"}}).objects
