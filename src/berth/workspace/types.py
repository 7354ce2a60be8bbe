"""The Workspace API, kaito.sh/v1alpha1 and v1beta1: one superset of both.

Field names in Python are snake_case, on the wire camelCase. The CRD is generated from these
classes (`berth.workspace.crd`): their docstrings and descriptions are what `kubectl explain`
shows. Source of the fields: KAITO's api/v1alpha1 and api/v1beta1.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

GROUP = "kaito.sh"
VERSIONS = ("v1alpha1", "v1beta1")
STORED_VERSION = "v1beta1"
KIND, PLURAL = "Workspace", "workspaces"

AccessMode = Literal["public", "private"]
Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
Outcome = Literal["fits", "fits with less", "does not fit"]
State = Literal["Pending", "Ready", "NotReady", "Running", "Succeeded", "Failed"]
ConditionStatus = Literal["True", "False", "Unknown"]

# Bounds keep the cost of the CEL rules that walk these fields below the API server's limit.
ObjectName = Annotated[str, Meta(max_length=253)]
LabelKey = Annotated[str, Meta(max_length=317)]
LabelValue = Annotated[str, Meta(max_length=63)]
Image = Annotated[str, Meta(max_length=1024)]
PullSecrets = Annotated[list[ObjectName], Meta(max_length=16)]

_FREE = {"x-kubernetes-preserve-unknown-fields": True}  # what we do not name is kept as it is
_INT32, _INT64 = {"format": "int32"}, {"format": "int64"}


class _Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Unknown keys are let through here: the API server prunes or refuses them by the schema."""


class Metadata(_Part, frozen=True, kw_only=True):
    """What of an object's metadata the rules look at."""

    name: Annotated[str, Meta(max_length=63)] = ""
    generate_name: str = ""


class SelectorRequirement(_Part, frozen=True, kw_only=True):
    """One of matchExpressions."""

    key: Annotated[LabelKey, Meta(min_length=1, description="The label.")]
    operator: Annotated[Operator, Meta(description="Only In, with a single value.")]
    values: Annotated[
        list[LabelValue], Meta(max_length=64, description="The value that the label has.")
    ] = []


class LabelSelector(_Part, frozen=True, kw_only=True):
    """Which nodes: matchLabels, or In with a single value."""

    match_labels: Annotated[
        dict[LabelKey, LabelValue],
        Meta(max_length=64, description="Labels that a node must have, with their values."),
    ] = {}
    match_expressions: Annotated[
        list[SelectorRequirement],
        Meta(max_length=64, description="The same in the other form: In with a single value."),
    ] = []

    @property
    def labels(self) -> dict[str, str]:
        """Both forms as labels that a node must have."""
        single = {r.key: r.values[0] for r in self.match_expressions if len(r.values) == 1}
        return {**self.match_labels, **single}


class Resource(_Part, frozen=True, kw_only=True):
    """The nodes that the model runs on."""

    count: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description=(
                "How many nodes. A model that fits one of them runs on each; one that does not is "
                "split over all of them. May be changed."
            ),
            extra_json_schema=_INT32,
        ),
    ] = 1
    instance_type: Annotated[
        str,
        Meta(
            max_length=63,
            description=(
                "The nodes' instance type (their label node.kubernetes.io/instance-type), as "
                "Standard_NC24ads_A100_v4 is. Empty: own nodes, chosen by labelSelector and by "
                "their GPU labels. Immutable."
            ),
        ),
    ] = ""
    label_selector: Annotated[
        LabelSelector,
        Meta(
            description="The labels that a node must have; nodes made for it get them. Immutable."
        ),
    ]
    preferred_nodes: Annotated[
        list[ObjectName],
        Meta(max_length=1000, description="Names of nodes that are taken before others."),
    ] = []
    partition: Annotated[
        dict[str, Any] | None,
        Meta(description="Not supported: a model gets whole GPUs.", extra_json_schema=_FREE),
    ] = None


class PresetOptions(_Part, frozen=True, kw_only=True):
    """The image's registry, and the secrets with which it and the weights are read."""

    image: Annotated[Image, Meta(description="The image to run instead of Berth's own.")] = ""
    image_pull_secrets: Annotated[
        PullSecrets,
        Meta(description="Secrets of the same namespace that the image is pulled with."),
    ] = []
    model_access_secret: Annotated[
        ObjectName,
        Meta(
            description=(
                "A Secret of the same namespace whose key HF_TOKEN is the hub's token, for weights "
                "that the hub gives only to those who accepted a licence."
            )
        ),
    ] = ""


class PresetRef(_Part, frozen=True, kw_only=True):
    """A model of the catalogue."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            description=(
                "The model: a preset of the catalogue, as llama-2-7b-chat is, or the hub id that "
                "a preset has, as meta-llama/Llama-2-7b-chat-hf. Letter case does not matter. "
                "Immutable."
            ),
        ),
    ]
    access_mode: Annotated[
        AccessMode,
        Meta(description="private: presetOptions.image is an image that holds the weights."),
    ] = "public"
    preset_options: PresetOptions = PresetOptions()


class AdapterSource(_Part, frozen=True, kw_only=True):
    """Where an adapter's weights are."""

    name: ObjectName = ""
    image: Image = ""
    image_pull_secrets: PullSecrets = []
    volume_source: Annotated[dict[str, Any] | None, Meta(extra_json_schema=_FREE)] = None


class Adapter(_Part, frozen=True, kw_only=True):
    """A LoRA adapter."""

    source: AdapterSource | None = None
    strength: Annotated[str, Meta(max_length=32)] = "1.0"


class Inference(_Part, frozen=True, kw_only=True):
    """What is served: a preset, or a pod of one's own."""

    preset: PresetRef | None = None
    # Kept as it is, for the pods; TemplateShape says what of it is checked.
    template: dict[str, Any] | None = None
    config: Annotated[
        ObjectName,
        Meta(
            description=(
                "A ConfigMap of the same namespace with the server's options, under the key "
                "inference_config.yaml. A change rolls out."
            )
        ),
    ] = ""
    adapters: Annotated[
        list[Adapter],
        Meta(max_length=10, description="Not supported: merge them into the weights."),
    ] = []


class ContainerShape(_Part, frozen=True, kw_only=True):
    """A container of the pod template."""

    name: Annotated[str, Meta(min_length=1, max_length=63, description="Of the container.")]
    image: Annotated[str, Meta(min_length=1, max_length=1024, description="What it runs.")]


class PodShape(_Part, frozen=True, kw_only=True):
    """The pod's spec, as Kubernetes has it."""

    containers: Annotated[
        list[ContainerShape],
        Meta(
            min_length=1,
            max_length=64,
            description="Requests come to port 5000 of the pod.",
        ),
    ]


class TemplateShape(_Part, frozen=True, kw_only=True):
    """A pod of one's own, instead of a preset. May be changed, which rolls out."""

    spec: PodShape


class Workspace(_Part, frozen=True, kw_only=True):
    """A model and the nodes that it is served on. There is no `spec`: KAITO has none."""

    metadata: Metadata = Metadata()
    resource: Resource
    inference: Inference | None = None
    tuning: Annotated[
        dict[str, Any] | None,
        Meta(description="Not supported: Berth serves models.", extra_json_schema=_FREE),
    ] = None


class Condition(_Part, frozen=True, kw_only=True):
    """One aspect of the Workspace, as it was last observed."""

    type: Annotated[str, Meta(min_length=1, max_length=316, description="Which aspect.")]
    status: Annotated[ConditionStatus, Meta(description="Unknown: nothing was seen of it.")]
    observed_generation: Annotated[
        int, Meta(ge=0, description="Of the Workspace that it is about.", extra_json_schema=_INT64)
    ] = 0
    last_transition_time: Annotated[
        str,
        Meta(description="When status last changed.", extra_json_schema={"format": "date-time"}),
    ]
    reason: Annotated[
        str,
        Meta(min_length=1, max_length=1024, description="One of those in docs/conditions.md."),
    ]
    message: Annotated[str, Meta(max_length=32768, description="A sentence for people.")]


class Fit(_Part, frozen=True, kw_only=True):
    """Whether the model fits its nodes. Sizes are of the GPU (or CPU node) that needs most."""

    outcome: Annotated[Outcome, Meta(description="As berth fit says it.")]
    accepted: Annotated[bool, Meta(description="Whether it is deployed.")]
    machine: Annotated[str, Meta(description="The node that was measured against.")] = ""
    engine: Annotated[str, Meta(description="What runs the model.")] = ""
    gpus: Annotated[int, Meta(ge=0, description="GPUs in use, over all nodes.")] = 0
    context: Annotated[
        int, Meta(ge=0, description="Tokens of prompt and answer that were asked for.")
    ] = 0
    concurrency: Annotated[
        int, Meta(ge=0, description="Sequences of that length at the same time.")
    ] = 0
    max_context: Annotated[int, Meta(ge=0, description="Tokens that have room.")] = 0
    max_concurrency: Annotated[int, Meta(ge=0, description="Sequences that have room.")] = 0
    need_bytes: Annotated[
        int,
        Meta(ge=0, description="What the engine needs of it.", extra_json_schema=_INT64),
    ] = 0
    usable_bytes: Annotated[
        int, Meta(ge=0, description="What the engine may take of it.", extra_json_schema=_INT64)
    ] = 0
    binding: Annotated[str, Meta(description="The term that decides.")] = ""
    message: Annotated[str, Meta(description="A sentence for people.")] = ""


class Status(_Part, frozen=True, kw_only=True):
    """What was observed. Written by the controller alone."""

    observed_generation: Annotated[
        int,
        Meta(ge=0, description="Of the Workspace that this is about.", extra_json_schema=_INT64),
    ] = 0
    conditions: Annotated[
        list[Condition],
        Meta(
            description="See docs/conditions.md.",
            extra_json_schema={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = []
    worker_nodes: Annotated[list[str], Meta(description="The nodes that the model runs on.")] = []
    target_node_count: Annotated[
        int, Meta(ge=0, description="How many nodes it should run on.", extra_json_schema=_INT32)
    ] = 0
    state: Annotated[
        State | None,
        Meta(
            description=(
                "Ready: it answers. Pending: what should answer is not there yet. NotReady: it "
                "should, and does not. The others are KAITO's, of tuning."
            )
        ),
    ] = None
    fit: Fit | None = None
    endpoint: Annotated[str, Meta(description="The address at which it answers.")] = ""
