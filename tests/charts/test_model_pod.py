"""charts/model: the StatefulSet and its pods."""

from __future__ import annotations

import re
from typing import Any

import helm_python
import pytest

from charts.rendered import Object, container, render


def stateful_set(**values: Any) -> Object:
    return render("model", values).one("StatefulSet")


def pod(**values: Any) -> Object:
    return dict(stateful_set(**values)["spec"]["template"])


def arguments(**values: Any) -> list[str]:
    return list(container(pod(**values), "model")["args"])


def volumes(**values: Any) -> dict[str, Object]:
    return {volume["name"]: volume for volume in pod(**values)["spec"]["volumes"]}


def environment(**values: Any) -> dict[str, Object]:
    return {entry["name"]: entry for entry in container(pod(**values)).get("env", [])}


def test_the_default_is_the_built_in_model_on_cpu() -> None:
    given = stateful_set()
    assert given["spec"]["replicas"] == 1
    assert container(given["spec"]["template"])["image"] == "berth:0.1.0"
    assert arguments()[0] == "pocket"
    assert "nvidia.com/gpu" not in str(given)


def test_the_servers_port_is_the_one_that_is_published() -> None:
    (port,) = container(pod())["ports"]
    assert port == {"name": "http", "containerPort": 5000, "protocol": "TCP"}
    assert {"--host=0.0.0.0", "--port=5000"} <= set(arguments())


def test_probes_ask_readyz_and_livez_and_loading_has_its_own_time() -> None:
    of = container(pod(startupMinutes=10))
    assert of["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert of["startupProbe"]["failureThreshold"] * of["startupProbe"]["periodSeconds"] == 600
    assert of["readinessProbe"]["httpGet"]["path"] == "/readyz"
    # A model that hangs is its supervisor's case; a restart would load the weights again.
    assert of["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_the_pod_outlives_the_drain() -> None:
    given = pod(graceSeconds=90)
    before = container(given)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert "--grace=90" in arguments(graceSeconds=90)
    assert before >= 5  # until endpoints have gone
    # 10 s for the engine to end and 5 s for written answers: server/run.py
    assert given["spec"]["terminationGracePeriodSeconds"] >= before + 90 + 15 + 5


def test_gpus_are_requested_tolerated_and_shared_by_ranks() -> None:
    given = pod(gpus=4, model="llama-2-13b-chat")
    resources = container(given)["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "4"
    assert resources["requests"]["nvidia.com/gpu"] == "4"
    assert resources["requests"]["memory"] == "2Gi"
    assert container(given)["image"] == "berth:0.1.0-cuda"
    assert {"--device=cuda", "--degree=auto"} <= set(arguments(gpus=4))
    assert {t["key"] for t in given["spec"]["tolerations"]} == {"nvidia.com/gpu", "sku"}


def test_how_many_ranks_can_be_said() -> None:
    assert not [
        a for a in arguments(gpus=4, engine={"kind": "transformers"}) if a.startswith("--degree")
    ]
    assert "--degree=2" in arguments(gpus=4, engine={"degree": 2})


def test_another_vendors_gpu_is_asked_for_by_its_name() -> None:
    limits = container(pod(gpus=1, gpuResource="amd.com/gpu"))["resources"]["limits"]
    assert limits == {"amd.com/gpu": "1"}


def test_several_nodes_meet_at_pod_0_and_keep_apart() -> None:
    given = stateful_set(gpus=4, nodes=2, model="llama-2-70b-chat")
    spec = given["spec"]
    assert spec["replicas"] == 2
    # Ranks of an old and a new version cannot work together: all are replaced at once.
    assert spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 2
    assert spec["podManagementPolicy"] == "Parallel"
    assert {
        "--degree=8",
        "--nnodes=2",
        "--node-rank=$(POD_INDEX)",
        "--rdzv-endpoint=pocket-0.pocket-headless.ai.svc:29500",
    } <= set(arguments(gpus=4, nodes=2))
    index = environment(gpus=4, nodes=2)["POD_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.labels['apps.kubernetes.io/pod-index']"
    anti = spec["template"]["spec"]["affinity"]["podAntiAffinity"]
    (term,) = anti["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = spec["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()


def test_on_cpu_the_requested_memory_is_the_limit() -> None:
    """The engine takes what it is allowed to; without a limit that would be the node's memory."""
    assert container(pod())["resources"]["limits"] == {"memory": "2Gi"}
    more = {"limits": {"memory": "8Gi", "cpu": 4}}
    assert container(pod(resources=more))["resources"]["limits"] == more["limits"]
    assert "memory" not in container(pod(gpus=1))["resources"]["limits"]


def test_replicas_are_copies_of_the_model() -> None:
    assert stateful_set(replicas=3)["spec"]["replicas"] == 3
    assert stateful_set(replicas=0)["spec"]["replicas"] == 0
    assert stateful_set(replicas=0, nodes=2)["spec"]["replicas"] == 0
    assert not [a for a in arguments(replicas=3) if a.startswith("--nnodes")]


def test_an_autoscaler_decides_on_the_replicas_alone() -> None:
    assert "replicas" not in stateful_set(autoscaling={"type": "hpa"})["spec"]


def test_weights_of_a_hub_go_to_a_folder_that_can_be_written() -> None:
    given = container(pod(model="Qwen/Qwen3-0.6B"))
    mounts = {m["name"]: m for m in given["volumeMounts"]}
    assert environment()["HF_HOME"]["value"].startswith(mounts["cache"]["mountPath"] + "/")
    assert not mounts["cache"].get("readOnly")
    assert volumes()["cache"]["emptyDir"] == {}
    limited = volumes(weights={"hub": {"size": "40Gi"}})["cache"]
    assert limited["emptyDir"] == {"sizeLimit": "40Gi"}


def test_pulled_weights_can_be_kept_on_a_volume_of_each_pod() -> None:
    hub = {"persistent": True, "size": "40Gi", "storageClass": "fast"}
    given = stateful_set(weights={"hub": hub})
    (claim,) = given["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "cache"
    assert claim["spec"]["resources"]["requests"]["storage"] == "40Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    assert given["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    assert "cache" not in volumes(weights={"hub": hub})


def test_a_hubs_token_comes_from_a_secret_and_its_address_from_a_value() -> None:
    hub = {"tokenSecret": "hf", "tokenKey": "t", "endpoint": "https://mirror.example.org"}
    given = environment(weights={"hub": hub})
    assert given["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hf", "key": "t"}
    assert given["HF_ENDPOINT"]["value"] == "https://mirror.example.org"


def test_weights_of_an_existing_claim_are_read_only_and_nothing_is_pulled() -> None:
    values: Any = {"weights": {"source": "claim", "claim": {"name": "shared"}, "path": "llama/13b"}}
    assert volumes(**values)["weights"]["persistentVolumeClaim"] == {
        "claimName": "shared",
        "readOnly": True,
    }
    given = arguments(model="llama-2-13b", **values)
    assert given[:2] == ["llama-2-13b", "--weights=/weights/llama/13b"]
    assert environment(**values)["HF_HUB_OFFLINE"]["value"] == "1"
    mounts = {m["name"]: m for m in container(pod(**values))["volumeMounts"]}
    assert mounts["weights"] == {"name": "weights", "mountPath": "/weights", "readOnly": True}


def test_weights_of_an_image_volume() -> None:
    reference = "registry.example.org/weights/qwen3:1"
    values: Any = {"weights": {"source": "image", "image": {"reference": reference}}}
    assert volumes(**values)["weights"]["image"] == {
        "reference": reference,
        "pullPolicy": "IfNotPresent",
    }
    assert "--weights=/weights" in arguments(**values)


def test_weights_of_the_image_itself_are_where_the_image_says() -> None:
    values: Any = {"weights": {"source": "baked"}, "image": {"repository": "r/llama", "tag": "1"}}
    assert arguments(**values)[0].startswith("--")
    assert "weights" not in volumes(**values)
    given: Any = {"weights": {"source": "baked", "path": "/opt/weights"}}
    assert arguments(**given)[:2] == ["pocket", "--weights=/opt/weights"]


def test_an_image_can_be_fixed_by_its_digest() -> None:
    digest = "sha256:" + "0" * 64
    image = {"repository": "registry.example.org/berth", "tag": "x", "digest": digest}
    given = pod(image={**image, "pullSecrets": ["a", "b"]})
    assert container(given)["image"] == f"registry.example.org/berth@{digest}"
    assert given["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


def test_keys_come_from_a_secret_and_never_stand_in_the_pod() -> None:
    reference = environment(keys={"values": ["a-secret-key"]})["BERTH_API_KEY"]
    assert reference["valueFrom"]["secretKeyRef"] == {"name": "pocket-keys", "key": "BERTH_API_KEY"}
    assert "a-secret-key" not in str(stateful_set(keys={"values": ["a-secret-key"]}))
    other = environment(keys={"existingSecret": "mine"})["BERTH_API_KEY"]
    assert other["valueFrom"]["secretKeyRef"]["name"] == "mine"
    assert "BERTH_API_KEY" not in environment(keys={"enabled": False})


def test_other_keys_need_other_pods() -> None:
    def mark(*keys: str) -> str:
        return str(pod(keys={"values": list(keys)})["metadata"]["annotations"]["berth/keys"])

    assert mark("a-secret-key") == mark("a-secret-key")
    assert mark("a-secret-key") != mark("another-key", "a-secret-key")
    assert len(mark("a-secret-key")) == 4  # too few digits to confirm a guess


def test_another_chart_version_does_not_load_the_model_again() -> None:
    labels = pod()["metadata"]["labels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & labels.keys()


def test_the_engines_options_reach_it() -> None:
    engine = {
        "kind": "native",
        "dtype": "bfloat16",
        "maxModelLen": 4096,
        "maxNumSeqs": 8,
        "chatTemplate": "llama-2",
        "extraArgs": ["--hang-timeout=10"],
    }
    given = arguments(
        engine=engine, servedName="mine", aliases=["gpt", "x"], log={"level": "debug"}
    )
    assert {
        "--engine=native",
        "--dtype=bfloat16",
        "--max-model-len=4096",
        "--max-num-seqs=8",
        "--chat-template=llama-2",
        "--hang-timeout=10",
        "--name=mine",
        "--alias=gpt",
        "--alias=x",
        "--log-level=debug",
    } <= set(given)


def test_placement_is_the_owners() -> None:
    spread = [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
    ]
    given = pod(
        nodeSelector={"apps": "llama"},
        tolerations=[{"key": "team", "operator": "Exists"}],
        affinity={"nodeAffinity": {}},
        topologySpreadConstraints=spread,
        priorityClassName="high",
        runtimeClassName="nvidia",
        podLabels={"team": "ml"},
        podAnnotations={"note": "x"},
    )
    spec = given["spec"]
    assert spec["nodeSelector"] == {"apps": "llama"}
    assert spec["tolerations"] == [{"key": "team", "operator": "Exists"}]
    assert spec["affinity"] == {"nodeAffinity": {}}
    assert spec["topologySpreadConstraints"] == spread
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("high", "nvidia")
    assert given["metadata"]["labels"]["team"] == "ml"
    assert given["metadata"]["annotations"]["note"] == "x"


def test_shared_memory_and_scratch_space() -> None:
    given = volumes(shmSize="8Gi")
    assert given["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert given["tmp"]["emptyDir"] == {"sizeLimit": "2Gi"}
    mounts = {m["name"]: m["mountPath"] for m in container(pod())["volumeMounts"]}
    assert (mounts["shm"], mounts["tmp"]) == ("/dev/shm", "/tmp")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"nodes": 2, "replicas": 2}, "nodes is 2 and replicas is 2"),
        ({"nodes": 2, "autoscaling": {"type": "hpa"}}, "autoscaling.type is hpa and nodes is 2"),
        ({"nodes": 2, "engine": {"kind": "transformers"}}, "engine.kind is transformers"),
        (
            {"autoscaling": {"type": "hpa", "minReplicas": 5}},
            "autoscaling.minReplicas is 5, above autoscaling.maxReplicas, which is 4",
        ),
        ({"autoscaling": {"type": "keda"}}, "autoscaling.keda.serverAddress is empty"),
        ({"weights": {"source": "claim"}}, "weights.claim.name is empty"),
        ({"weights": {"source": "image"}}, "weights.image.reference is empty"),
        ({"weights": {"hub": {"persistent": True}}}, "weights.hub.size is empty"),
        ({"ingress": {"enabled": True}}, "ingress.host is empty"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is empty"),
    ],
)
def test_values_that_exclude_or_need_each_other_are_refused(values: Object, sentence: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=re.escape(sentence)):
        render("model", values)
