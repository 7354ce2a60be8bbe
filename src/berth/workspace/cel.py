"""The rules of a Workspace: each once as CEL, for the API server, and once in Python.

The CRD carries the CEL (`berth.workspace.crd`); `berth plan` and the planner ask the Python
(`berth.workspace.validate`). Tests hold the two to the same answers. The sentences are those of
KAITO's webhook wherever it checks the same.

The CEL has no optional selection (`self.?name`): the API server does not know how long what comes
out of `orValue` can be, takes the worst, and refuses the CRD as too costly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from berth.workspace.types import Inference, PresetOptions, PresetRef, Resource, Workspace

Reason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"]

IMMUTABLE = "field is immutable"
_LABEL = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SUBDOMAIN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_PRESET = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"
_A_NAME = "lower-case letters, digits, '-' and '.', as the names of objects are"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One of x-kubernetes-validations, and the same in Python."""

    at: str  # the node of the schema that has it: "", "resource", "inference.preset"
    rule: str  # in CEL, of `self` (and `oldSelf`: then it is only asked when both are there)
    message: str
    holds: Callable[[Workspace], bool] | None = None  # asked where `at` is there
    keeps: Callable[[Workspace, Workspace], bool] | None = None  # of new and old, in a transition
    field: str = ""  # what is wrong, below `at`; empty: `at` itself
    reason: Reason = "FieldValueInvalid"

    @property
    def path(self) -> str:
        """The field that a refusal names."""
        return ".".join(part for part in (self.at, self.field) if part)


def _inference(workspace: Workspace) -> Inference:
    assert workspace.inference is not None, "asked where inference is there"
    return workspace.inference


def _preset(workspace: Workspace) -> PresetRef:
    preset = _inference(workspace).preset
    assert preset is not None, "asked where inference.preset is there"
    return preset


def _options(workspace: Workspace) -> PresetOptions:
    return _preset(workspace).preset_options


def _single_values(resource: Resource) -> bool:
    expressions = resource.label_selector.match_expressions
    return all(e.operator == "In" and len(e.values) == 1 for e in expressions)


def _is(pattern: str, text: str) -> bool:
    # CEL's `matches` is RE2's, where $ is the very end.
    return re.search(pattern.removesuffix("$") + r"\Z", text) is not None


RULES = (
    Rule(
        at="",
        rule=(
            "!has(self.metadata.name) || self.metadata.name == '' || "
            f"self.metadata.name.matches('{_LABEL}')"
        ),
        holds=lambda new: not new.metadata.name or _is(_LABEL, new.metadata.name),
        message=(
            "metadata.name: a lowercase RFC 1123 label must consist of lower case alphanumeric "
            "characters or '-', and must start and end with an alphanumeric character"
        ),
    ),
    Rule(
        at="",
        rule="!has(self.tuning)",
        holds=lambda new: new.tuning is None,
        field="tuning",
        reason="FieldValueForbidden",
        message=(
            "Berth serves models and does not tune them: remove tuning, and give inference what a "
            "training job has made"
        ),
    ),
    Rule(
        at="",
        rule="has(self.inference) || has(self.tuning)",
        holds=lambda new: new.inference is not None or new.tuning is not None,
        field="inference",
        reason="FieldValueRequired",
        message="Preset or Template must be specified",
    ),
    Rule(
        at="resource",
        rule="!has(self.partition)",
        holds=lambda new: new.resource.partition is None,
        field="partition",
        reason="FieldValueForbidden",
        message=(
            "Berth gives a model whole GPUs, as many of a node as it needs: remove partition, and "
            "select nodes by labelSelector"
        ),
    ),
    Rule(
        at="resource",
        rule=(
            "(has(self.instanceType) ? self.instanceType : '') == "
            "(has(oldSelf.instanceType) ? oldSelf.instanceType : '')"
        ),
        keeps=lambda new, old: new.resource.instance_type == old.resource.instance_type,
        field="instanceType",
        message=IMMUTABLE,
    ),
    Rule(
        at="resource.labelSelector",
        rule=(
            "!has(self.matchExpressions) || self.matchExpressions.all(e, "
            "e.operator == 'In' && has(e.values) && size(e.values) == 1)"
        ),
        holds=lambda new: _single_values(new.resource),
        message="Only allow matchLabels or 'IN' matchExpression, with a single value",
    ),
    Rule(
        at="resource.labelSelector",
        rule=(
            "(has(self.matchLabels) ? self.matchLabels : {}) == "
            "(has(oldSelf.matchLabels) ? oldSelf.matchLabels : {}) && "
            "(has(self.matchExpressions) ? self.matchExpressions : []) == "
            "(has(oldSelf.matchExpressions) ? oldSelf.matchExpressions : [])"
        ),
        keeps=lambda new, old: new.resource.label_selector == old.resource.label_selector,
        message=IMMUTABLE,
    ),
    Rule(
        at="inference",
        rule="has(self.preset) || has(self.template)",
        holds=lambda new: bool(_inference(new).preset) or _inference(new).template is not None,
        reason="FieldValueRequired",
        message="Preset or Template must be specified",
    ),
    Rule(
        at="inference",
        rule="!(has(self.preset) && has(self.template))",
        holds=lambda new: _inference(new).preset is None or _inference(new).template is None,
        message="Preset and Template cannot be set at the same time",
    ),
    Rule(
        at="inference",
        rule="has(self.preset) == has(oldSelf.preset)",
        keeps=lambda new, old: (_inference(new).preset is None) == (_inference(old).preset is None),
        field="preset",
        message=IMMUTABLE,
    ),
    Rule(
        at="inference",
        rule="has(self.template) == has(oldSelf.template)",
        keeps=lambda new, old: (
            (_inference(new).template is None) == (_inference(old).template is None)
        ),
        field="template",
        message="field cannot be unset/set if it was set/unset",
    ),
    Rule(
        at="inference",
        rule=f"!has(self.config) || self.config == '' || self.config.matches('{_SUBDOMAIN}')",
        holds=lambda new: not _inference(new).config or _is(_SUBDOMAIN, _inference(new).config),
        field="config",
        message=f"must be the name of a ConfigMap: {_A_NAME}",
    ),
    Rule(
        at="inference",
        rule="!has(self.config) || self.config == '' || !has(self.template)",
        holds=lambda new: not _inference(new).config or _inference(new).template is None,
        field="config",
        reason="FieldValueForbidden",
        message="config belongs to a preset: a template's containers have their own arguments",
    ),
    Rule(
        at="inference",
        rule="!has(self.adapters) || size(self.adapters) == 0",
        holds=lambda new: not _inference(new).adapters,
        field="adapters",
        reason="FieldValueForbidden",
        message=(
            "Berth's engines load no adapters: merge them into the weights, give those as a "
            "private image, and remove adapters"
        ),
    ),
    Rule(
        at="inference.preset",
        rule=f"self.name.matches('{_PRESET}')",
        holds=lambda new: _is(_PRESET, _preset(new).name),
        field="name",
        message=(
            "must be a preset's name, as llama-2-7b-chat is, or the hub id of one, as "
            "meta-llama/Llama-2-7b-chat-hf is"
        ),
    ),
    Rule(
        at="inference.preset",
        rule="self.name.lowerAscii() == oldSelf.name.lowerAscii()",
        keeps=lambda new, old: _preset(new).name.lower() == _preset(old).name.lower(),
        field="name",
        message=IMMUTABLE,
    ),
    Rule(
        at="inference.preset",
        rule=(
            "!has(self.accessMode) || self.accessMode != 'private' || "
            "(has(self.presetOptions) && has(self.presetOptions.image) && "
            "self.presetOptions.image != '')"
        ),
        holds=lambda new: _preset(new).access_mode != "private" or bool(_options(new).image),
        field="presetOptions.image",
        reason="FieldValueRequired",
        message="When AccessMode is private, an image must be provided in PresetOptions",
    ),
    Rule(
        at="inference.preset.presetOptions",
        rule=(
            "!has(self.imagePullSecrets) || "
            f"self.imagePullSecrets.all(s, s.matches('{_SUBDOMAIN}'))"
        ),
        holds=lambda new: all(_is(_SUBDOMAIN, s) for s in _options(new).image_pull_secrets),
        field="imagePullSecrets",
        message=f"must be names of Secrets: {_A_NAME}",
    ),
    Rule(
        at="inference.preset.presetOptions",
        rule=(
            "!has(self.modelAccessSecret) || self.modelAccessSecret == '' || "
            f"self.modelAccessSecret.matches('{_SUBDOMAIN}')"
        ),
        holds=lambda new: (
            not _options(new).model_access_secret
            or _is(_SUBDOMAIN, _options(new).model_access_secret)
        ),
        field="modelAccessSecret",
        message=f"must be the name of a Secret: {_A_NAME}",
    ),
)
