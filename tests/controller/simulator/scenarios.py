"""The stories: what users, machines and clouds do while a controller is at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from berth.controller.kinds import (
    CONFIG_MAP,
    NODE,
    NODE_CLAIM,
    POD,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    WORKSPACE,
    Object,
)
from berth.workspace import names
from berth.workspace.observed import Settings
from berth.workspace.plan import plan
from controller.simulator.karpenter import Launch
from controller.simulator.kubelet import Fate
from controller.simulator.objects import (
    A100,
    MACHINES,
    NAMESPACE,
    Step,
    cpu_node,
    create,
    create_node,
    create_workspace,
    delete,
    edit,
    gpu_node,
    presets,
    together,
    workspace,
)
from controller.simulator.simulation import Scenario

if TYPE_CHECKING:
    from controller.simulator.simulation import Simulation

_KEYED = Settings(api_key_secret="keys", look_for_secrets=True)
NODE_CLASS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"}
PROVISIONING = Settings(provisioning=True, node_class=NODE_CLASS)
CLAIM = names.claim(NAMESPACE, "llama", 0)
MINE = (NAMESPACE, "llama")


def _scenario(name: str, begin: Step, *steps: tuple[float, Step], **more: Any) -> Scenario:
    more.setdefault("settings", Settings())
    return Scenario(
        name=name,
        begin=begin,
        plan=plan,
        presets=presets(),
        machines=MACHINES,
        steps=tuple(steps),
        **more,
    )


def _nothing(sim: Simulation) -> None:
    pass


_GPU = create_node(gpu_node())
_LLAMA = create_workspace(workspace())
_CLAIMED = create_workspace(workspace(labels={"apps": "llama"}, instanceType=A100))
_TWO_GPUS = together(*(create_node(gpu_node(name)) for name in ("gpu-1", "gpu-2")))
_GONE = delete(WORKSPACE, *MINE)


def _image(tag: str) -> Step:
    options = {"image": f"registry.example.com/llama:{tag}"}
    return edit(WORKSPACE, *MINE, {"inference": {"preset": {"presetOptions": options}}})


def _options(content: str) -> dict[str, Any]:
    return {"data": {"inference_config.yaml": content}}


def _count(pods: int) -> Step:
    return edit(WORKSPACE, *MINE, {"resource": {"count": pods}})


def _own_node(pool: str) -> Step:
    node = gpu_node(pool)
    node["metadata"]["labels"]["pool"] = pool
    return create_node(node)


def _upgrade(settings: Settings) -> Step:
    return lambda sim: sim.upgrade(settings)


def _config_goes(sim: Simulation) -> None:
    """Once something runs with it: else there would be nothing that could go on."""
    if sim.server.find(STATEFUL_SET, *MINE) is None:
        sim.at(sim.now + 1, _config_goes, sim)
    else:
        sim.server.delete(CONFIG_MAP, NAMESPACE, "options")


def _by_image(**fates: Fate) -> Any:
    """What becomes of a pod follows from its image's tag."""

    def fate(pod: Object, now: float) -> Fate:
        return fates.get(f"v{pod['spec']['containers'][0]['image'].rsplit(':', 1)[1]}", "ready")

    return fate


def _stranger(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"namespace": NAMESPACE, "name": name},
        **spec,
    }


def _greedy_pod(node: str) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": "1"}
    container = {"name": "c", "image": "other:1", "resources": {"limits": limits}}
    spec = {"spec": {"nodeName": node, "containers": [container]}, "status": {"phase": "Running"}}
    return _stranger("Pod", "greedy", spec)


def _replace_service(sim: Simulation) -> None:
    """Ours is changed and at once deleted, and the user's own stands in its place."""
    if sim.server.find(SERVICE, *MINE) is None:
        sim.at(sim.now + 1, _replace_service, sim)
        return
    sim.server.merge(SERVICE, *MINE, {"spec": {"selector": {"kaito.sh/workspace": "x"}}})
    sim.server.delete(SERVICE, *MINE)
    sim.server.create(SERVICE, _STOLEN_SERVICE)


def _namespace_goes(sim: Simulation) -> None:
    sim.server.going.add(NAMESPACE)
    sim.cluster.dirty = True


def _karpenter_comes(sim: Simulation) -> None:
    sim.server.missing.discard(NODE_CLAIM)


def _not_ready(name: str, status: str) -> Step:
    def act(sim: Simulation) -> None:
        node = sim.server.get(NODE, None, name)
        conditions = [{"type": "Ready", "status": status, "reason": "KubeletStopped"}]
        sim.server.set_status(NODE, node, conditions=conditions)

    return act


def _capacity_at(second: float) -> Any:
    def launch(claim: Object, now: float) -> Launch:
        return "ready" if now >= second else "no_capacity"

    return launch


_STOLEN_SERVICE = _stranger("Service", "llama", {"spec": {"ports": [{"port": 8080}]}})
_CONFIG = _stranger("ConfigMap", "options", {"data": {"inference_config.yaml": ""}})
_KEYS = _stranger("Secret", "keys", {"data": {}})
_WITH_CONFIG = workspace()
_WITH_CONFIG["inference"]["config"] = "options"
# Seventy billion parameters in two bytes each: two nodes of 80 GB, and not one.
_PAIR = workspace(preset="llama-2-70b-chat", count=2)
_CLAIMED_PAIR = workspace(
    preset="llama-2-70b-chat", count=2, labels={"apps": "llama"}, instanceType=A100
)
_LONG = "a-workspace-with-a-name-that-is-far-longer-than-any-label-of-kubernetes-may-be"

SCENARIOS: tuple[Scenario, ...] = (
    # Nothing goes wrong by itself.
    _scenario("own gpu node", _GPU, (1, _LLAMA)),
    _scenario("there before the controller", together(_GPU, _LLAMA)),
    _scenario(
        "cpu node",
        create_node(cpu_node()),
        (1, create_workspace(workspace(preset="pocket", labels={"pool": "cpu"}, image=""))),
    ),
    _scenario("node comes late", _nothing, (1, _LLAMA), (60, _GPU)),
    _scenario(
        "two workspaces",
        together(_GPU, create_node(cpu_node())),
        (1, _LLAMA),
        (
            1,
            create_workspace(
                workspace("pocket", preset="pocket", labels={"pool": "cpu"}, image="")
            ),
        ),
    ),
    _scenario(
        "long name",
        together(_GPU, create_workspace(workspace(_LONG))),
    ),
    _scenario(
        "two nodes together",
        together(*(create_node(gpu_node(f"gpu-{n}")) for n in (1, 2, 3))),
        (1, create_workspace(_PAIR)),
    ),
    _scenario(
        "two nodes together, changed",
        together(*(create_node(gpu_node(f"gpu-{n}")) for n in (1, 2))),
        (1, create_workspace(_PAIR)),
        (100, _image("2")),
    ),
    _scenario(
        "two nodes provisioned",
        _nothing,
        (1, create_workspace(_CLAIMED_PAIR)),
        settings=PROVISIONING,
    ),
    # It cannot be.
    _scenario(
        "does not fit",
        _GPU,
        (1, create_workspace(workspace(preset="llama-2-70b-chat"))),
    ),
    _scenario(
        "gpu taken for a while",
        together(_GPU, create(POD, _greedy_pod("gpu-1"))),
        (1, _LLAMA),
        (90, delete(POD, NAMESPACE, "greedy")),
    ),
    # Pods that fail.
    _scenario(
        "crash loop until the image is mended",
        _GPU,
        (1, _LLAMA),
        (120, _image("2")),
        fate=_by_image(v1="crash"),
    ),
    _scenario("crash loop for ever", _GPU, (1, _LLAMA), fate=_by_image(v1="crash")),
    _scenario("out of memory", _GPU, (1, _LLAMA), fate=_by_image(v1="oom")),
    _scenario("image cannot be pulled", _GPU, (1, _LLAMA), fate=_by_image(v1="pull")),
    _scenario("a bad update", _GPU, (1, _LLAMA), (100, _image("2")), fate=_by_image(v2="crash")),
    # Users.
    _scenario("changed twice quickly", _GPU, (1, _LLAMA), (50, _image("2")), (50.3, _image("3"))),
    _scenario("changed while it starts", _GPU, (1, _LLAMA), (3, _image("2"))),
    _scenario("service deleted by hand", _GPU, (1, _LLAMA), (60, delete(SERVICE, *MINE))),
    _scenario("workload deleted by hand", _GPU, (1, _LLAMA), (60, delete(STATEFUL_SET, *MINE))),
    _scenario(
        "service edited by hand",
        _GPU,
        (1, _LLAMA),
        (60, edit(SERVICE, *MINE, {"spec": {"selector": {"kaito.sh/workspace": "other"}}})),
    ),
    _scenario(
        "workload scaled by hand",
        _GPU,
        (1, _LLAMA),
        (60, edit(STATEFUL_SET, *MINE, {"spec": {"replicas": 0}})),
    ),
    _scenario(
        "another's service has the name",
        together(_GPU, create(SERVICE, _STOLEN_SERVICE)),
        (1, _LLAMA),
        (90, delete(SERVICE, *MINE)),
    ),
    _scenario(
        "service replaced by hand",
        _GPU,
        (1, _LLAMA),
        (60, _replace_service),
        (200, delete(SERVICE, *MINE)),
    ),
    _scenario("deleted while it starts", _GPU, (1, _LLAMA), (2, _GONE)),
    _scenario("deleted and made again", _GPU, (1, _LLAMA), (40, _GONE), (40.5, _LLAMA)),
    _scenario(
        "config comes late",
        _GPU,
        (1, create_workspace(_WITH_CONFIG)),
        (90, create(CONFIG_MAP, _CONFIG)),
    ),
    _scenario(
        "config goes bad and is mended",
        together(_GPU, create(CONFIG_MAP, _CONFIG)),
        (1, create_workspace(_WITH_CONFIG)),
        (60, edit(CONFIG_MAP, NAMESPACE, "options", _options("max-modle-len: 1"))),
        (130, edit(CONFIG_MAP, NAMESPACE, "options", _options("max-model-len: 1024"))),
    ),
    _scenario(
        "config is deleted",
        together(_GPU, create(CONFIG_MAP, _CONFIG)),
        (1, create_workspace(_WITH_CONFIG)),
        (60, _config_goes),
    ),
    _scenario(
        "three pods and one again",
        together(*(create_node(gpu_node(f"gpu-{n}")) for n in (1, 2, 3))),
        (1, _LLAMA),
        (60, _count(3)),
        (130, _count(1)),
    ),
    # The chart.
    _scenario(
        "a value of the chart changes for three",
        together(*map(_own_node, ("one", "two", "three")), create(SECRET, _KEYS)),
        *(
            (1, create_workspace(workspace(name, labels={"pool": name})))
            for name in ("one", "two", "three")
        ),
        (60, _upgrade(_KEYED)),
        settle=1500.0,
    ),
    _scenario(
        "a Secret of the chart comes late",
        together(_GPU, _LLAMA),
        (60, _upgrade(_KEYED)),
        (150, create(SECRET, _KEYS)),
    ),
    # With room for a second pod.
    _scenario("changed, with room beside", _TWO_GPUS, (1, _LLAMA), (60, _image("2")), gapless=True),
    _scenario(
        "changed twice quickly, with room beside",
        _TWO_GPUS,
        (1, _LLAMA),
        (60, _image("2")),
        (63, _image("3")),
        gapless=True,
    ),
    _scenario(
        "a bad update, with room beside",
        _TWO_GPUS,
        (1, _LLAMA),
        (100, _image("2")),
        (200, _image("3")),
        fate=_by_image(v2="crash"),
        gapless=True,
    ),
    _scenario(
        "a value of the chart changes, with room beside",
        together(_TWO_GPUS, create(SECRET, _KEYS)),
        (1, _LLAMA),
        (60, _upgrade(_KEYED)),
        gapless=True,
    ),
    # Nodes.
    _scenario(
        "node stops answering for a while",
        _GPU,
        (1, _LLAMA),
        (60, _not_ready("gpu-1", "Unknown")),
        (120, _not_ready("gpu-1", "True")),
    ),
    # Karpenter.
    _scenario("provisioned", _nothing, (1, _CLAIMED), settings=PROVISIONING),
    _scenario(
        "no capacity for a while",
        _nothing,
        (1, _CLAIMED),
        settings=PROVISIONING,
        launch=_capacity_at(100),
        settle=2500.0,
    ),
    _scenario(
        "karpenter is missing",
        _nothing,
        (1, _CLAIMED),
        settings=PROVISIONING,
        missing=frozenset({NODE_CLAIM}),
    ),
    _scenario(
        "karpenter comes late",
        _nothing,
        (1, _CLAIMED),
        (100, _karpenter_comes),
        settings=PROVISIONING,
        missing=frozenset({NODE_CLAIM}),
        settle=2500.0,
    ),
    _scenario(
        "deleted while the node is launched",
        _nothing,
        (1, _CLAIMED),
        (20, _GONE),
        settings=PROVISIONING,
    ),
    _scenario("deleted at once", _nothing, (1, _CLAIMED), (1.1, _GONE), settings=PROVISIONING),
    _scenario(
        "claim deleted by hand",
        _nothing,
        (1, _CLAIMED),
        (120, delete(NODE_CLAIM, None, CLAIM)),
        settings=PROVISIONING,
    ),
    _scenario(
        "namespace deleted",
        _nothing,
        (1, _CLAIMED),
        (30, _namespace_goes),
        settings=PROVISIONING,
    ),
)

BY_NAME: Mapping[str, Scenario] = {scenario.name: scenario for scenario in SCENARIOS}
# With a second controller beside the first, and the lease between them.
PAIRS: tuple[Scenario, ...] = tuple(
    replace(BY_NAME[name], name=f"{name}, two controllers", controllers=2)
    for name in (
        "own gpu node",
        "provisioned",
        "changed twice quickly",
        "workload deleted by hand",
        "claim deleted by hand",
        "deleted while the node is launched",
    )
)
