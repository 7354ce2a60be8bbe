"""What the pods may do and need, and that the chart's decisions reach them."""

from __future__ import annotations

from typing import Any

import click
import pytest

from berth.checkpoint.folder import load_config
from berth.checkpoint.numbers import numbers_of
from berth.cli.serve import serve
from berth.cluster.quantity import quantity
from berth.fit.budget import engine_budget
from berth.presets.image_names import image_name
from berth.workspace.observed import Settings
from workspace.worlds import GIB, Cluster, Object, cpu_node, gpu_node, presets, workspace

A100 = ("NVIDIA-A100-SXM4-80GB", 81920)


def deployed(ws: Object | None = None, settings: Settings | None = None, **rest: Any) -> Cluster:
    nodes = rest.pop("nodes", [gpu_node()])
    cluster = Cluster(ws or workspace(), nodes, settings=settings, **rest)
    cluster.settle()
    assert cluster.reason("WorkspaceReady") == ("True", "WorkspaceServes")
    return cluster


def grouped(settings: Settings | None = None) -> Cluster:
    nodes = [gpu_node("a", 1, *A100), gpu_node("b", 1, *A100)]
    return deployed(workspace("llama-2-70b-chat", count=2), settings, nodes=nodes)


def pod_spec(cluster: Cluster) -> Object:
    found: Object = cluster.child("StatefulSet")["spec"]["template"]["spec"]
    return found


def container(cluster: Cluster) -> Object:
    found: Object = pod_spec(cluster)["containers"][0]
    return found


def env(cluster: Cluster) -> dict[str, Any]:
    return {
        one["name"]: one.get("value", one.get("valueFrom")) for one in container(cluster)["env"]
    }


def test_the_pod_meets_the_restricted_pod_security_standard() -> None:
    spec, one = pod_spec(deployed()), container(deployed())
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all(set(v) <= {"name", "emptyDir"} for v in spec["volumes"])


def test_the_pod_gets_no_token_and_no_neighbours_addresses() -> None:
    spec = pod_spec(deployed())
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False


def test_all_that_is_written_to_is_a_volume() -> None:
    """The root filesystem is read-only."""
    mounts = {one["mountPath"] for one in container(deployed())["volumeMounts"]}
    assert mounts == {"/tmp", "/cache", "/dev/shm"}
    places = [v for k, v in env(deployed()).items() if k.endswith(("HOME", "DIR"))]
    assert places
    assert all(place.startswith(("/tmp", "/cache")) for place in places)


def test_probes_ask_what_each_is_about() -> None:
    one = container(deployed())
    assert one["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert one["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert one["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_a_start_is_seen_within_a_second_and_a_stopped_server_replaced_within_40() -> None:
    spec, one = pod_spec(deployed()), container(deployed())
    assert one["startupProbe"]["periodSeconds"] == one["startupProbe"]["timeoutSeconds"] == 1

    def latest(probe: Object) -> int:
        """Seconds from the moment that nothing answers any more: an answer just before it, and
        then each probe until its time is out."""
        tries = max(probe["periodSeconds"], probe["timeoutSeconds"]) * probe["failureThreshold"]
        return int(probe["periodSeconds"] + tries)

    assert latest(one["readinessProbe"]) == 8
    alive = one["livenessProbe"]
    assert latest(alive) + alive["terminationGracePeriodSeconds"] == 40
    # An engine that restarts is its supervisor's case, in up to 10 s, and no reason for a kill.
    assert latest(alive) - alive["periodSeconds"] > 10
    # That is for a server that hangs; one that is told to go may drain as long as before.
    assert alive["terminationGracePeriodSeconds"] < spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("preset", "nodes", "minutes"),
    [
        ("falcon-7b", [gpu_node()], 30),  # as KAITO's preset says
        ("llama-2-70b-chat", [gpu_node("a", 4, *A100)], 53.83),  # 128.5 GiB of weights
        ("llama-3.1-8b-instruct", [gpu_node()], 19.5),
    ],
)
def test_a_start_may_take_as_long_as_its_weights_need(
    preset: str, nodes: list[Object], minutes: float
) -> None:
    probe = container(deployed(workspace(preset), nodes=nodes))["startupProbe"]
    budget = probe["periodSeconds"] * probe["failureThreshold"] / 60
    assert budget == pytest.approx(minutes, abs=0.2)


@pytest.mark.parametrize("grace", [0, 30, 600])
def test_the_kubelet_waits_longer_than_the_server_drains(grace: int) -> None:
    cluster = deployed(settings=Settings(grace_seconds=grace))
    assert f"--grace={grace}" in container(cluster)["args"]
    sleep = container(cluster)["lifecycle"]["preStop"]["sleep"]["seconds"]
    # berth.server.run: 10 s for the engine's end and 5 s for answers that are written.
    assert pod_spec(cluster)["terminationGracePeriodSeconds"] >= sleep + grace + 15


def test_the_server_listens_for_others_than_itself() -> None:
    assert "--host=0.0.0.0" in container(deployed())["args"]


@pytest.mark.parametrize("make", [deployed, grouped])
def test_the_arguments_are_the_server_s_own(make: Any) -> None:
    """Parsed by the command itself, in the pod's place of $(POD_INDEX)."""
    args = [arg.replace("$(POD_INDEX)", "1") for arg in container(make())["args"]]
    context = click.Context(serve)
    serve.parse_args(context, list(args))
    assert context.params["models"]
    assert context.params["host"] == "0.0.0.0"
    assert context.params["port"] == 5000


def test_no_argument_needs_a_shell() -> None:
    assert "command" not in container(grouped())
    assert env(grouped())["POD_INDEX"] == {
        "fieldRef": {
            "apiVersion": "v1",
            "fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']",
        }
    }


def test_the_degree_is_always_said() -> None:
    """The images' own default is as many ranks as they see GPUs."""
    assert "--degree=1" in container(deployed())["args"]
    assert "--degree=2" in container(grouped())["args"]


def test_a_group_meets_before_it_is_ready_and_talks_among_itself() -> None:
    cluster = grouped()
    headless = cluster.child("Service", "falcon-headless")["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True
    assert cluster.child("StatefulSet")["spec"]["serviceName"] == "falcon-headless"
    policy = cluster.child("NetworkPolicy")["spec"]
    peers = [{"podSelector": {"matchLabels": {"kaito.sh/workspace": "falcon"}}}]
    assert {"from": peers} in policy["ingress"]
    assert {"to": peers} in policy["egress"]


def test_all_pods_start_at_once() -> None:
    for cluster in (deployed(), grouped()):
        assert cluster.child("StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"


def test_every_pod_has_a_node_of_its_own() -> None:
    for made in (grouped(), deployed()):
        apart = pod_spec(made)["affinity"]["podAntiAffinity"]
        (term,) = apart["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert set(apart) == {"requiredDuringSchedulingIgnoredDuringExecution"}


def test_several_ranks_share_memory() -> None:
    cluster = deployed(workspace("llama-2-70b-chat"), nodes=[gpu_node("a", 4, *A100)])
    shm = next(v for v in pod_spec(cluster)["volumes"] if v["name"] == "shm")["emptyDir"]
    assert shm["medium"] == "Memory"
    # 64 MiB for each rank, and some room.
    assert quantity(shm["sizeLimit"]) == 512 * 2**20


def test_a_drain_takes_one_pod_at_a_time_and_is_never_stopped_by_a_broken_one() -> None:
    spec = deployed().child("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_network_policy_lets_in_the_server_s_port_and_out_what_a_pull_needs() -> None:
    spec = deployed().child("NetworkPolicy")["spec"]
    assert spec["ingress"] == [{"ports": [{"port": 5000, "protocol": "TCP"}]}]
    ports = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
    assert ports == {53, 443}
    private = deployed(workspace(options={"image": "own:1"}))
    egress = private.child("NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for rule in egress for port in rule["ports"]} == {53}


def test_weights_are_pulled_into_a_volume_that_holds_them() -> None:
    cluster = deployed()
    assert container(cluster)["image"] == image_name("berth", "cuda")
    assert container(cluster)["args"][0] == "falcon-7b"
    cache = next(v for v in pod_spec(cluster)["volumes"] if v["name"] == "cache")
    size = quantity(cache["emptyDir"]["sizeLimit"])
    assert size is not None
    assert size > 1.2 * 12.9 * GIB
    assert env(cluster)["HF_HOME"].startswith("/cache")
    assert "HF_HUB_OFFLINE" not in env(cluster)


def test_pulled_weights_outlive_the_pod_on_the_chart_s_storage() -> None:
    cluster = deployed(settings=Settings(storage_class="fast"))
    (claim,) = cluster.child("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "cache"
    assert claim["spec"]["storageClassName"] == "fast"
    assert "cache" not in [v["name"] for v in pod_spec(cluster)["volumes"]]
    retention = cluster.child("StatefulSet")["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert retention["whenDeleted"] == "Delete", "a Workspace leaves nothing behind"


@pytest.mark.parametrize(
    ("options", "settings", "image"),
    [
        ({"image": "own:1"}, Settings(), "own:1"),
        ({}, Settings(model_registry="r.example/m/", model_tag="2"), "r.example/m/falcon-7b:2"),
        (
            {},
            Settings(model_registry="r.example/m"),
            f"r.example/m/{image_name('falcon-7b', 'cuda')}",
        ),
        ({"image": "own:1"}, Settings(model_registry="r.example/m"), "own:1"),
    ],
)
def test_an_image_with_weights_knows_its_model(
    options: Object, settings: Settings, image: str
) -> None:
    cluster = deployed(workspace(options=options), settings)
    assert container(cluster)["image"] == image
    assert container(cluster)["args"][0].startswith("--"), "no model is named"
    assert env(cluster)["HF_HUB_OFFLINE"] == "1"


def test_the_cpu_image_runs_on_cpu_nodes() -> None:
    selector = {"matchLabels": {"pool": "cpu"}}
    ws = workspace("pocket", labelSelector=selector)
    cluster = deployed(ws, Settings(runtime_image="b:cpu"), nodes=[cpu_node()])
    assert container(cluster)["image"] == "b:cpu"
    cluster = deployed(ws, nodes=[cpu_node()])
    assert container(cluster)["image"] == image_name("berth", "cpu")
    cluster = deployed(ws, Settings(model_registry="r.example/m"), nodes=[cpu_node()])
    assert container(cluster)["image"] == f"r.example/m/{image_name('pocket', 'cpu')}"


def test_secrets_are_named_and_never_read() -> None:
    options = {"modelAccessSecret": "hub", "imagePullSecrets": ["registry"]}
    cluster = deployed(workspace(options=options), Settings(api_key_secret="keys"))
    wanted = {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}
    assert env(cluster)["HF_TOKEN"] == wanted
    wanted = {"secretKeyRef": {"name": "keys", "key": "BERTH_API_KEY"}}
    assert env(cluster)["BERTH_API_KEY"] == wanted, "not optional: a server without it were open"
    assert pod_spec(cluster)["imagePullSecrets"] == [{"name": "registry"}]


def test_crashes_leave_their_last_words() -> None:
    assert container(deployed())["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_owner_references_end_the_children_with_the_workspace() -> None:
    for child in deployed().children.values():
        (owner,) = child["metadata"]["ownerReferences"]
        assert owner["uid"] == "uid-of-falcon"
        assert owner["controller"] is True
        assert owner["apiVersion"] == "kaito.sh/v1beta1"


def test_a_template_keeps_what_it_says_and_gets_nodes_and_tolerations() -> None:
    own = {"key": "team", "operator": "Exists"}
    template = {
        "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
        "spec": {
            "containers": [{"name": "web", "image": "web:1", "command": ["serve"]}],
            "tolerations": [own],
            "affinity": {"podAffinity": {"x": 1}},
        },
    }
    cluster = deployed(workspace(None, template=template))
    made = cluster.child("StatefulSet")["spec"]["template"]
    assert made["metadata"]["labels"]["app"] == "web"
    # Without a probe Kubernetes would call it ready before anybody saw it answer.
    assert made["spec"]["containers"][0]["readinessProbe"]["tcpSocket"] == {"port": 5000}
    assert made["metadata"]["labels"]["kaito.sh/workspace"] == "falcon"
    assert made["metadata"]["annotations"].pop("berth/version")
    assert made["metadata"]["annotations"] == {"a": "b"}
    assert made["spec"]["containers"][0]["command"] == ["serve"]
    assert made["spec"]["tolerations"][0] == own
    assert {"key": "nvidia.com/gpu", "operator": "Exists"} in made["spec"]["tolerations"]
    assert made["spec"]["affinity"]["podAffinity"] == {"x": 1}
    assert "nodeAffinity" in made["spec"]["affinity"]
    assert cluster.child("Service", "falcon")["spec"]["ports"][0]["targetPort"] == 5000


@pytest.mark.parametrize("asked", [0, 1])
def test_a_template_s_own_readiness_probe_is_kept(asked: int) -> None:
    probe = {"httpGet": {"path": "/up", "port": 80}}
    containers: list[Object] = [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]
    containers[asked]["readinessProbe"] = probe
    cluster = deployed(workspace(None, template={"spec": {"containers": containers}}))
    made = pod_spec(cluster)["containers"]
    assert made[asked]["readinessProbe"]["httpGet"].items() >= probe["httpGet"].items()
    assert "readinessProbe" not in made[1 - asked]
    message = cluster.condition("WorkspaceReady")["message"]
    assert message == "The pods are ready: their readiness probe succeeds."


def test_a_template_keeps_to_its_instance_type() -> None:
    """As the nodes write it, and through changes of the template."""
    labels = {"node.kubernetes.io/instance-type": "g5.xlarge"}
    nodes = [gpu_node("a", labels=labels), gpu_node("b")]
    containers = [{"name": "web", "image": "web:1"}]
    ws = workspace(None, template={"spec": {"containers": containers}}, instanceType="G5.xlarge")
    cluster = deployed(ws, nodes=nodes)
    assert "['g5.xlarge']" in str(pod_spec(cluster)["affinity"]["nodeAffinity"])
    containers = [{"name": "web", "image": "web:2"}]
    cluster.edit(inference={"template": {"spec": {"containers": containers}}})
    cluster.settle()
    assert container(cluster)["image"] == "web:2"
    assert "['g5.xlarge']" in str(pod_spec(cluster)["affinity"]["nodeAffinity"])


def test_preferred_nodes_are_a_preference() -> None:
    affinity = pod_spec(deployed(workspace(preferredNodes=["a", "z"])))["affinity"]["nodeAffinity"]
    terms = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert [t["preference"]["matchFields"][0]["values"] for t in terms] == [["a"], ["z"]]


@pytest.mark.parametrize("memory", ["2Gi", "8Gi", "64Gi"])
def test_the_engine_starts_in_the_memory_that_a_cpu_pod_gets(memory: str) -> None:
    """Asked of the engine's own arithmetic, with the pod's limit as what it sees."""
    selector = {"matchLabels": {"pool": "cpu"}}
    cluster = deployed(workspace("pocket", labelSelector=selector), nodes=[cpu_node(memory=memory)])
    limit = quantity(container(cluster)["resources"]["limits"]["memory"])
    assert not [arg for arg in container(cluster)["args"] if "--memory-fraction" in arg]
    weights = presets()["pocket"].weights
    assert limit is not None
    assert weights is not None
    budget = engine_budget(
        numbers_of(load_config(weights)),
        kind="cpu",
        device_total_bytes=limit,
        device_free_bytes=limit - 220 * 2**20,  # the server and torch itself, as measured
        degree=1,
        dtype="bfloat16",
        max_model_len=512,
        max_num_seqs=64,
        max_batch_tokens=1024,
    )
    assert budget.max_model_len == 512
    assert budget.blocks >= 8 * 512 / 16
