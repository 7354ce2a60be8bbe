"""What the shell has read of one Workspace and its surroundings: plain API objects (JSON).

Everything that a decision depends on is here, so that the same Observed always gives the same
plan. Objects come from watch caches: any of them may be old, and none of them may be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from berth.presets.catalogue import Preset
from berth.presets.image_names import SERVER, image_name
from berth.workspace.needs import Need

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the chart's owner decided. Validated once, when the controller starts."""

    provisioning: bool = False  # make Karpenter NodeClaims if no node of ours suits
    node_class: Object | None = None  # nodeClassRef {group, kind, name} of those NodeClaims
    # One image for every model, which pulls weights from the hub when it starts.
    runtime_image: str = image_name(SERVER, "cpu")
    runtime_image_gpu: str = image_name(SERVER, "cuda")
    # If set, a preset's own image is REGISTRY/PRESET:TAG, and nothing is pulled from a hub.
    model_registry: str = ""
    model_tag: str = ""  # empty: as `berth build` tags the image for this kind of device
    image_pull_policy: str = "IfNotPresent"
    network_policy: bool = True
    grace_seconds: int = 30  # of running requests, after SIGTERM
    storage_class: str = ""  # of the volume that pulled weights lie on; empty: emptyDir
    look_for_secrets: bool = False  # before a pod that answers is ended for one that needs them
    max_restarts: int = 1  # Workspaces that a change of the chart restarts at the same time
    api_key_secret: str = ""  # a Secret with BERTH_API_KEY in the Workspace's namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A write that the API server turned down, and that has not succeeded since."""

    kind: str
    name: str
    message: str  # the API server's own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One Workspace, whole, as it was read."""

    workspace: Object  # metadata, resource, inference, status
    settings: Settings
    presets: Mapping[str, Preset]
    nodes: tuple[Object, ...]  # every v1 Node
    # Pods of all Workspaces and all others that the shell may see: what is taken of the nodes.
    # Those of this Workspace carry its label and its StatefulSet as owner.
    pods: tuple[Object, ...]
    # Objects that carry this Workspace's label: StatefulSet, Service, PodDisruptionBudget,
    # NetworkPolicy. Also such that it does not own (made by hand, or left by a namesake), and
    # such that an Apply without uid found at its name, with or without the label.
    children: tuple[Object, ...]
    # Karpenter NodeClaims with this Workspace's labels; None: the cluster has no such kind.
    claims: tuple[Object, ...] | None = None
    config_map: Object | None = None  # the one that inference.config names
    events: tuple[Object, ...] = ()  # Warning events of the children, the pods and the claims
    # Of what the plan before asked to look for (LookFor), what is not there; None: none asked.
    absent: tuple[Need, ...] | None = None
    restarting: tuple[str, ...] = ()  # other Workspaces whose pods are being replaced now
    rejected: tuple[Rejected, ...] = ()  # what the API server said to earlier actions, the newest
