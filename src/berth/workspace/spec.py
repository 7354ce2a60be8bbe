"""What one Workspace asks for, read and checked: a Spec, or the reason why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from berth.cluster.fields import name_of, text, uid_of, whole, words
from berth.near import nearest
from berth.presets.catalogue import Preset
from berth.protocol.engines import ENGINES, Parallel, parallel_of
from berth.workspace.names import LOAD_BALANCER
from berth.workspace.observed import Observed
from berth.workspace.options import OptionError, Options, read_options
from berth.workspace.parse import WorkspaceError, find_preset, parse_workspace
from berth.workspace.reasons import Reason
from berth.workspace.types import PresetOptions
from berth.workspace.validate import refusals

_NOT_SUPPORTED = frozenset({"tuning", "resource.partition", "inference.adapters"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which Workspace, and which state of it."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why nothing can be done for this Workspace as it stands."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A Workspace that makes sense."""

    count: int
    selector: Mapping[str, str]
    instance_type: str = ""
    preferred_nodes: tuple[str, ...] = ()
    preset: Preset | None = None  # this, or a template
    preset_options: PresetOptions = field(default_factory=PresetOptions)
    template: Mapping[str, Any] | None = None
    options: Options = field(default_factory=Options)
    config: str = ""  # the ConfigMap of the options
    load_balancer: bool = False

    @property
    def engine(self) -> str:
        """The engine that runs the preset; "" for a template."""
        if self.preset is None:
            return ""
        return self.preset.engine if self.options.engine == "auto" else self.options.engine

    @property
    def parallel(self) -> Parallel | Literal[""]:
        """How that engine shares a model between GPUs; "" without one that Berth starts."""
        return parallel_of(self.engine)


def identity(observed: Observed) -> Identity | None:
    """None if it has no name, uid or resourceVersion: nothing can be written for it then."""
    workspace = observed.workspace
    found = Identity(
        namespace=text(workspace, "metadata", "namespace"),
        name=name_of(workspace),
        uid=uid_of(workspace),
        generation=max(whole(workspace, "metadata", "generation") or 0, 0),
        resource_version=text(workspace, "metadata", "resourceVersion"),
    )
    complete = found.namespace and found.name and found.uid and found.resource_version
    return found if complete else None


def read_spec(observed: Observed, earlier: Options | None = None) -> Spec | Refusal:
    """Check everything that can be checked without looking at nodes.

    Args:
        earlier: options to take instead of the ConfigMap's.
    """
    try:
        parsed = parse_workspace(_plain(observed.workspace))
    except WorkspaceError as error:
        return Refusal(reason=Reason.SpecInvalid, message=f"{error}.")
    broken = refusals(parsed)
    if broken:
        unsupported = all(one.field in _NOT_SUPPORTED for one in broken)
        reason = Reason.NotSupported if unsupported else Reason.SpecInvalid
        return Refusal(reason=reason, message="\n".join(f"{one}." for one in broken))
    resource, inference = parsed.resource, parsed.inference
    assert inference is not None, "there is a rule for that"
    common: dict[str, Any] = {
        "count": resource.count,
        "selector": resource.label_selector.labels,
        "instance_type": resource.instance_type,
        "preferred_nodes": tuple(dict.fromkeys(resource.preferred_nodes)),
        "load_balancer": _load_balancer(observed),
    }
    if inference.preset is None:
        return Spec(template=inference.template, **common)
    preset = _preset(observed, inference.preset.name)
    if isinstance(preset, Refusal):
        return preset
    options = _config(observed, inference.config) if earlier is None else earlier
    if isinstance(options, Refusal):
        return options
    return Spec(
        preset=preset,
        preset_options=inference.preset.preset_options,
        options=options,
        config=inference.config,
        **common,
    )


def _plain(workspace: Mapping[str, Any]) -> dict[str, Any]:
    """What the rules are about; null counts as left out, as in the API server.

    Not the name: one that is too long for us now may have been stored before, and gets a hash.
    """
    kept = ("resource", "inference", "tuning")
    return {key: workspace[key] for key in kept if workspace.get(key) is not None}


def _load_balancer(observed: Observed) -> bool:
    annotations = words(observed.workspace, "metadata", "annotations")
    return annotations.get(LOAD_BALANCER, "").lower() == "true"


def _preset(observed: Observed, name: str) -> Preset | Refusal:
    found = find_preset(name, observed.presets)
    if found is None:
        near = nearest(name, observed.presets)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        return Refusal(
            reason=Reason.UnknownPreset, message=f"Unsupported preset name {name[:200]}.{hint}"
        )
    if found.engine not in ENGINES:
        why = found.reason or "no engine of ours reads GGUF yet"
        return Refusal(
            reason=Reason.NoEngine, message=f"No engine of Berth runs {found.name}: {why}."
        )
    if found.config is None:
        return Refusal(
            reason=Reason.SizeUnknown,
            message=f"The size of preset {found.name} is not known: {found.unknown}.",
        )
    return found


def _config(observed: Observed, name: str) -> Options | Refusal:
    if not name:
        return Options()
    config_map = observed.config_map
    if config_map is None:
        return Refusal(
            reason=Reason.ConfigMissing,
            message=f"ConfigMap {name}, which inference.config names, is not there.",
        )
    try:
        return read_options(words(config_map, "data"))
    except OptionError as error:
        return Refusal(reason=Reason.ConfigInvalid, message=f"ConfigMap {name}: {error}.")
