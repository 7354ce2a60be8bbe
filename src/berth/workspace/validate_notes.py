"""What of a Workspace is right and still will not do what its writer may expect of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from berth.workspace.names import LOAD_BALANCER
from berth.workspace.types import Workspace

# KAITO's annotations that Berth does not follow, and what to do instead.
_ANNOTATIONS = {
    "kaito.sh/runtime": "set engine in the ConfigMap of inference.config",
    "kaito.sh/bypass-resource-checks": "a model that does not fit is not deployed",
    "kaito.sh/disable-benchmark": "there is no benchmark at start",
    "kaito.sh/performance-mode": "set max-num-seqs in the ConfigMap of inference.config",
    "kaito.sh/use-local-weights": "give an image that holds the weights",
    "kaito.sh/model-streaming": "weights are pulled, or lie in the image",
    "kaito.sh/node-image-family": "the node class says it",
    "kaito.sh/node-class-name": "the controller's setting says it",
}


def notes(manifest: Mapping[str, Any], workspace: Workspace) -> tuple[str, ...]:
    """Sentences that begin with the field."""
    return (*_annotations(manifest), *_placeholders(workspace))


def _annotations(manifest: Mapping[str, Any]) -> Iterator[str]:
    metadata = manifest.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    for name in found if isinstance(found, Mapping) else ():
        if str(name).startswith("kaito.sh/") and name != LOAD_BALANCER:
            instead = f": {_ANNOTATIONS[name]}" if name in _ANNOTATIONS else ""
            yield f"metadata.annotations: {name} has no effect in Berth{instead}"


def _placeholders(workspace: Workspace) -> Iterator[str]:
    """KAITO's examples have words in angle brackets where their user is to write something."""
    fields = {"resource.instanceType": workspace.resource.instance_type}
    if workspace.inference is not None and workspace.inference.preset is not None:
        image = workspace.inference.preset.preset_options.image
        fields["inference.preset.presetOptions.image"] = image
    for index, node in enumerate(workspace.resource.preferred_nodes):
        fields[f"resource.preferredNodes[{index}]"] = node
    for field, value in fields.items():
        if "<" in value or any(letter.isspace() for letter in value):
            yield f"{field} is {value!r}: write what is meant in its place"
