"""The container that serves the model."""

from __future__ import annotations

from typing import Any

from berth.fit.placement import GPU_RESOURCE
from berth.protocol.engines import parallel_of
from berth.workspace import names
from berth.workspace.objects.common import PORT, PORT_NAME, Plan, quantity
from berth.workspace.objects.services import rendezvous
from berth.workspace.objects.weights import (
    MOUNT,
    VOLUME,
    are_in_image,
    are_pulled,
    image,
)
from berth.workspace.shape import CPU_POD_MILLI_CPUS, GPU_POD_MILLI_CPUS

TMP = "tmp"
SHM = "shm"
_INDEX = "POD_INDEX"
# By the second, so that a model that answers after three seconds is Ready after four.
_START_SECONDS = 1
# A server that is stopped or stuck is out of the Service after at most 2 + 2 * 3 seconds, and is
# killed after at most 5 + 5 * 5, with 10 to end in: what it holds is lost in any case by then.
READY = {"periodSeconds": 2, "timeoutSeconds": 3, "failureThreshold": 2}
_ALIVE = {
    "periodSeconds": 5,
    "timeoutSeconds": 5,
    "failureThreshold": 5,
    "terminationGracePeriodSeconds": 10,
}
PRE_STOP_SECONDS = 5
_STOP_SECONDS = 25  # after the grace period: the engine's end, written answers, the process
_SHM_MARGIN = 256 * 2**20
# A large model on a slow disk or a slow hub: what KAITO gives it, in minutes and seconds per GiB.
_START_MINUTES, _START_SECONDS_PER_GIB, _MOST_MINUTES = 15, 18, 180


def container(plan: Plan) -> dict[str, Any]:
    """`berth serve` is the image's entrypoint; the arguments only add options."""
    return {
        "name": "model",
        "image": image(plan),
        "imagePullPolicy": plan.settings.image_pull_policy,
        "args": _args(plan),
        "env": _env(plan),
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(plan),
        "startupProbe": {
            **_get("/readyz"),
            "periodSeconds": _START_SECONDS,
            "timeoutSeconds": _START_SECONDS,
            "failureThreshold": startup_seconds(plan) // _START_SECONDS,
        },
        "readinessProbe": {**_get("/readyz"), **READY},
        "livenessProbe": {**_get("/livez"), **_ALIVE},
        # Endpoints learn of a pod's end some seconds after the pod does.
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The last lines of its log are the words that the condition has, when it crashes.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": TMP, "mountPath": "/tmp"},  # of the container
            {"name": VOLUME, "mountPath": MOUNT},
            {"name": SHM, "mountPath": "/dev/shm"},
        ],
    }


def termination_seconds(plan: Plan) -> int:
    """terminationGracePeriodSeconds: more than the server takes when it drains."""
    return PRE_STOP_SECONDS + plan.settings.grace_seconds + _STOP_SECONDS


def startup_seconds(plan: Plan) -> int:
    """How long a pod may take to become ready: by its weights' size, or what the preset says."""
    preset = plan.spec.preset
    gib = -(-plan.shape.disk // 2**30)
    seconds = _START_MINUTES * 60 + _START_SECONDS_PER_GIB * gib
    if preset is not None and preset.kaito is not None:
        seconds = max(seconds, preset.kaito.readiness_minutes * 60)
    return min(seconds, _MOST_MINUTES * 60)


def _args(plan: Plan) -> list[str]:
    preset, shape = plan.spec.preset, plan.shape
    assert preset is not None
    args = [] if are_in_image(plan) else [preset.name]
    args += [
        "--host=0.0.0.0",
        f"--port={PORT}",
        f"--grace={plan.settings.grace_seconds}",
        f"--device={'cuda' if shape.device == 'gpu' else 'cpu'}",
    ]
    given = {option.partition("=")[0] for option in plan.spec.options.args}
    if "--name" not in given:
        args.append(f"--name={preset.name}")
    if "--log-format" not in given:
        args.append("--log-format=json")
    if shape.fraction and "--memory-fraction" not in given:
        # Fit and the engine have to count alike, or what fits would not start.
        args.append(f"--memory-fraction={shape.fraction:g}")
    if "--engine" not in given:
        args.append(f"--engine={shape.engine}")
    if shape.dtype:
        args.append(f"--dtype={shape.dtype}")
    # Named always: the images' own default is as many ranks as they see GPUs.
    args.append(f"--degree={shape.ranks if parallel_of(shape.engine) == 'ranks' else 1}")
    if plan.is_group:
        args += [
            f"--nnodes={plan.spec.count}",
            f"--node-rank=$({_INDEX})",
            f"--rdzv-endpoint={rendezvous(plan)}",
        ]
    return [*args, *plan.spec.options.args]


def _env(plan: Plan) -> list[dict[str, Any]]:
    env: list[dict[str, Any]] = [
        {"name": "HOME", "value": "/tmp"},  # the root filesystem is read-only
        {"name": "HF_HOME", "value": f"{MOUNT}/huggingface"},
        {"name": "XDG_CACHE_HOME", "value": f"{MOUNT}/xdg"},
        {"name": "TORCHINDUCTOR_CACHE_DIR", "value": f"{MOUNT}/inductor"},
        {"name": "TRITON_CACHE_DIR", "value": f"{MOUNT}/triton"},
        {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
    ]
    if not are_pulled(plan):
        env.append({"name": "HF_HUB_OFFLINE", "value": "1"})
    if plan.spec.preset_options.model_access_secret:
        env.append(_from_secret("HF_TOKEN", plan.spec.preset_options.model_access_secret))
    if plan.settings.api_key_secret:
        env.append(_from_secret("BERTH_API_KEY", plan.settings.api_key_secret))
    if plan.is_group:
        path = f"metadata.labels['{names.POD_INDEX}']"
        field = {"apiVersion": "v1", "fieldPath": path}
        env.append({"name": _INDEX, "valueFrom": {"fieldRef": field}})
    return env


def _from_secret(name: str, secret: str) -> dict[str, Any]:
    """Without the Secret the container does not start: a server without its key would be open."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}


def _resources(plan: Plan) -> dict[str, Any]:
    shape = plan.shape
    memory = quantity(shape.memory)
    if shape.device == "cpu":
        # With a limit the engine sizes its cache by it, and the node's other pods are safe.
        return {
            "requests": {"cpu": f"{CPU_POD_MILLI_CPUS}m", "memory": memory},
            "limits": {"memory": memory},
        }
    gpus = str(shape.gpus)
    return {
        "requests": {
            "cpu": str(GPU_POD_MILLI_CPUS // 1000),
            "memory": memory,
            GPU_RESOURCE: gpus,
        },
        "limits": {GPU_RESOURCE: gpus},
    }


def _get(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": PORT_NAME, "scheme": "HTTP"}}


def volumes(plan: Plan) -> list[dict[str, Any]]:
    """Those that every pod has beside its cache."""
    shm: dict[str, Any] = {"medium": "Memory"}
    if plan.shape.shm:
        shm["sizeLimit"] = quantity(plan.shape.shm + _SHM_MARGIN)
    elif plan.shape.device == "cpu":
        shm["sizeLimit"] = quantity(_SHM_MARGIN)
    return [
        {"name": TMP, "emptyDir": {"sizeLimit": "2Gi"}},
        {"name": SHM, "emptyDir": shm},
    ]
