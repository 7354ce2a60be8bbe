"""Workspaces with one field wrong: what is changed, the field that a refusal has to name, and the
sentence where one of the rules gives it."""

from __future__ import annotations

from typing import Any

from workspace.manifests import ABSENT, Json, changed, preset, template

EXPRESSIONS = "resource.labelSelector.matchExpressions"
SELECTOR_FORM = "Only allow matchLabels or 'IN' matchExpression, with a single value"
NO_INFERENCE = "Preset or Template must be specified"
NO_IMAGE = "When AccessMode is private, an image must be provided in PresetOptions"
BOTH = "Preset and Template cannot be set at the same time"
A_LABEL = "a lowercase RFC 1123 label must consist of"


def _expression(**fields: Any) -> list[Json]:
    return [{"key": "apps", "operator": "In", "values": ["llama"], **fields}]


# Name, path, value, field that is named, and (of a rule) the sentence.
_OF_PRESET: list[tuple[str, str, Any, str, str]] = [
    ("another version", "apiVersion", "kaito.sh/v1", "apiVersion", ""),
    ("another group", "apiVersion", "apps/v1", "apiVersion", ""),
    ("no version", "apiVersion", ABSENT, "apiVersion", ""),
    ("a RAG engine", "kind", "RAGEngine", "kind", ""),
    ("an inference set", "kind", "InferenceSet", "kind", ""),
    ("no metadata", "metadata", {}, "metadata.name", ""),
    ("no name", "metadata.name", ABSENT, "metadata.name", ""),
    ("capitals in the name", "metadata.name", "Llama", "metadata.name", A_LABEL),
    ("a low line in the name", "metadata.name", "llama_2", "metadata.name", A_LABEL),
    ("a dot in the name", "metadata.name", "llama-2.7b", "metadata.name", A_LABEL),
    ("a name that begins with a dash", "metadata.name", "-llama", "metadata.name", A_LABEL),
    ("a name that ends in a dash", "metadata.name", "llama-", "metadata.name", A_LABEL),
    ("a line end in the name", "metadata.name", "llama\n", "metadata.name", A_LABEL),
    ("a name that is too long", "metadata.name", "l" * 64, "metadata.name", ""),
    ("no resource", "resource", ABSENT, "resource", ""),
    ("resource is null", "resource", None, "resource", ""),
    ("resource is a list", "resource", [], "resource", ""),
    ("no node", "resource.count", 0, "resource.count", ""),
    ("a negative count", "resource.count", -1, "resource.count", ""),
    ("count is a string", "resource.count", "2", "resource.count", ""),
    ("count is a fraction", "resource.count", 1.5, "resource.count", ""),
    ("count is true", "resource.count", True, "resource.count", ""),
    ("too many nodes", "resource.count", 1001, "resource.count", ""),
    ("instance type is a number", "resource.instanceType", 5, "resource.instanceType", ""),
    ("instance type is a list", "resource.instanceType", ["a"], "resource.instanceType", ""),
    ("instance type is too long", "resource.instanceType", "S" * 64, "resource.instanceType", ""),
    ("no selector", "resource.labelSelector", ABSENT, "resource.labelSelector", ""),
    ("selector is null", "resource.labelSelector", None, "resource.labelSelector", ""),
    ("selector is a string", "resource.labelSelector", "a=b", "resource.labelSelector", ""),
    (
        "labels are a list",
        "resource.labelSelector.matchLabels",
        ["a=b"],
        "resource.labelSelector.matchLabels",
        "",
    ),
    (
        "a label's value is a number",
        "resource.labelSelector.matchLabels.apps",
        7,
        "resource.labelSelector.matchLabels",
        "",
    ),
    (
        "a label's value is true",
        "resource.labelSelector.matchLabels.apps",
        True,
        "resource.labelSelector.matchLabels",
        "",
    ),
    (
        "a label's value is too long",
        "resource.labelSelector.matchLabels.apps",
        "v" * 64,
        "resource.labelSelector.matchLabels",
        "",
    ),
    (
        "too many labels",
        "resource.labelSelector.matchLabels",
        {f"label-{i}": "a" for i in range(65)},
        "resource.labelSelector.matchLabels",
        "",
    ),
    ("expressions are a mapping", EXPRESSIONS, {"apps": "llama"}, EXPRESSIONS, ""),
    ("an expression without key", EXPRESSIONS, [{"operator": "In", "values": ["a"]}], "key", ""),
    ("an expression with an empty key", EXPRESSIONS, _expression(key=""), "key", ""),
    (
        "an expression without operator",
        EXPRESSIONS,
        [{"key": "a", "values": ["a"]}],
        "operator",
        "",
    ),
    ("an unknown operator", EXPRESSIONS, _expression(operator="Contains"), "operator", ""),
    (
        "an operator of inequality",
        EXPRESSIONS,
        _expression(operator="NotIn"),
        "resource.labelSelector",
        SELECTOR_FORM,
    ),
    (
        "an operator without values",
        EXPRESSIONS,
        [{"key": "apps", "operator": "Exists"}],
        "resource.labelSelector",
        SELECTOR_FORM,
    ),
    (
        "an operator of absence",
        EXPRESSIONS,
        [{"key": "apps", "operator": "DoesNotExist"}],
        "resource.labelSelector",
        SELECTOR_FORM,
    ),
    (
        "no value",
        EXPRESSIONS,
        _expression(values=[]),
        "resource.labelSelector",
        SELECTOR_FORM,
    ),
    (
        "two values",
        EXPRESSIONS,
        _expression(values=["a", "b"]),
        "resource.labelSelector",
        SELECTOR_FORM,
    ),
    ("values are a string", EXPRESSIONS, _expression(values="llama"), "values", ""),
    ("values are numbers", EXPRESSIONS, _expression(values=[2]), "values", ""),
    ("preferred nodes are a string", "resource.preferredNodes", "gpu-1", "preferredNodes", ""),
    ("a preferred node is a number", "resource.preferredNodes", [1], "preferredNodes", ""),
    (
        "too many preferred nodes",
        "resource.preferredNodes",
        ["n"] * 1001,
        "resource.preferredNodes",
        "",
    ),
    (
        "a slice of a GPU",
        "resource.partition",
        {"mode": "mig", "profile": "1g.10gb"},
        "resource.partition",
        "Berth gives a model whole GPUs",
    ),
    (
        "some of a node's GPUs",
        "resource.partition",
        {"mode": "accelerator", "count": 2},
        "resource.partition",
        "Berth gives a model whole GPUs",
    ),
    ("no inference", "inference", ABSENT, "inference", NO_INFERENCE),
    ("inference is null", "inference", None, "inference", NO_INFERENCE),
    ("inference is empty", "inference", {}, "inference", NO_INFERENCE),
    ("inference is a string", "inference", "llama", "inference", ""),
    ("preset is a string", "inference.preset", "llama-2-7b", "inference.preset", ""),
    ("preset without name", "inference.preset.name", ABSENT, "inference.preset.name", ""),
    ("an empty preset name", "inference.preset.name", "", "inference.preset.name", ""),
    ("preset name is a number", "inference.preset.name", 7, "inference.preset.name", ""),
    (
        "a space in the preset name",
        "inference.preset.name",
        "llama 2",
        "inference.preset.name",
        "must be a preset's name",
    ),
    (
        "a preset name with two slashes",
        "inference.preset.name",
        "a/b/c",
        "inference.preset.name",
        "must be a preset's name",
    ),
    (
        "a preset name that ends in a slash",
        "inference.preset.name",
        "meta-llama/",
        "inference.preset.name",
        "must be a preset's name",
    ),
    (
        "a preset name with a tag",
        "inference.preset.name",
        "llama-2-7b:latest",
        "inference.preset.name",
        "must be a preset's name",
    ),
    ("a preset name that is too long", "inference.preset.name", "p" * 201, "preset.name", ""),
    ("access mode in capitals", "inference.preset.accessMode", "Private", "accessMode", ""),
    ("an unknown access mode", "inference.preset.accessMode", "secret", "accessMode", ""),
    (
        "private without options",
        "inference.preset.presetOptions",
        ABSENT,
        "inference.preset.presetOptions.image",
        NO_IMAGE,
    ),
    (
        "private without image",
        "inference.preset.presetOptions.image",
        ABSENT,
        "inference.preset.presetOptions.image",
        NO_IMAGE,
    ),
    (
        "private with an empty image",
        "inference.preset.presetOptions.image",
        "",
        "inference.preset.presetOptions.image",
        NO_IMAGE,
    ),
    ("options are a list", "inference.preset.presetOptions", [], "presetOptions", ""),
    ("image is a number", "inference.preset.presetOptions.image", 1, "presetOptions.image", ""),
    ("image is too long", "inference.preset.presetOptions.image", "i" * 1025, "image", ""),
    (
        "pull secrets are a string",
        "inference.preset.presetOptions.imagePullSecrets",
        "registry",
        "imagePullSecrets",
        "",
    ),
    (
        "pull secrets as a pod has them",
        "inference.preset.presetOptions.imagePullSecrets",
        [{"name": "registry"}],
        "imagePullSecrets",
        "",
    ),
    (
        "a pull secret's name with a slash",
        "inference.preset.presetOptions.imagePullSecrets",
        ["team/registry"],
        "inference.preset.presetOptions.imagePullSecrets",
        "must be names of Secrets",
    ),
    (
        "an empty pull secret",
        "inference.preset.presetOptions.imagePullSecrets",
        [""],
        "inference.preset.presetOptions.imagePullSecrets",
        "must be names of Secrets",
    ),
    (
        "too many pull secrets",
        "inference.preset.presetOptions.imagePullSecrets",
        ["s"] * 17,
        "imagePullSecrets",
        "",
    ),
    (
        "a token instead of a secret's name",
        "inference.preset.presetOptions.modelAccessSecret",
        "hf_ABCDEF",
        "inference.preset.presetOptions.modelAccessSecret",
        "must be the name of a Secret",
    ),
    (
        "a secret as a mapping",
        "inference.preset.presetOptions.modelAccessSecret",
        {"name": "hf-token"},
        "modelAccessSecret",
        "",
    ),
    (
        "config is a path",
        "inference.config",
        "configs/a.yaml",
        "inference.config",
        "must be the name of a ConfigMap",
    ),
    ("config is a mapping", "inference.config", {"vllm": {}}, "inference.config", ""),
    (
        "an adapter",
        "inference.adapters",
        [{"source": {"name": "a", "image": "b"}, "strength": "0.5"}],
        "inference.adapters",
        "Berth's engines load no adapters",
    ),
    ("adapters are a mapping", "inference.adapters", {"a": "b"}, "inference.adapters", ""),
    (
        "tuning",
        "tuning",
        {"preset": {"name": "falcon-7b"}, "method": "qlora"},
        "tuning",
        "Berth serves models and does not tune them",
    ),
    ("a spec, as other kinds have", "spec", {"count": 1}, "spec", ""),
    ("a field in small letters", "resource.instancetype", "a", "resource.instancetype", ""),
    ("a field of another kind", "resource.replicas", 2, "resource.replicas", ""),
    ("a field a level too high", "inference.preset.image", "a", "inference.preset.image", ""),
    ("a field that is misspelled", "inference.confg", "a", "inference.confg", ""),
    (
        "an option in small letters",
        "inference.preset.presetOptions.imagepullsecrets",
        ["a"],
        "inference.preset.presetOptions.imagepullsecrets",
        "",
    ),
    ("retrieval", "inference.rag", {"embedding": "a"}, "inference.rag", ""),
]
_POD = "inference.template.spec"
_OF_TEMPLATE: list[tuple[str, str, Any, str, str]] = [
    ("a template is a string", "inference.template", "nginx", "inference.template", ""),
    ("a template without spec", "inference.template", {}, "inference.template.spec", ""),
    ("a pod without containers", _POD, {}, f"{_POD}.containers", ""),
    ("a pod with no container", f"{_POD}.containers", [], f"{_POD}.containers", ""),
    ("containers are a mapping", f"{_POD}.containers", {"web": {}}, f"{_POD}.containers", ""),
    ("a container without name", f"{_POD}.containers[0].name", ABSENT, "containers[0].name", ""),
    ("a container without image", f"{_POD}.containers[0].image", ABSENT, "containers[0].image", ""),
    ("a container's empty image", f"{_POD}.containers[0].image", "", "containers[0].image", ""),
    ("preset and template", "inference.preset", {"name": "falcon-7b"}, "inference", BOTH),
    ("config of a template", "inference.config", "a", "inference.config", "belongs to a preset"),
]


def cases() -> list[tuple[str, Json, str, str]]:
    """Name, manifest, field, sentence."""
    return [
        (name, changed(whole(), path, value), field, sentence)
        for whole, table in ((preset, _OF_PRESET), (template, _OF_TEMPLATE))
        for name, path, value, field, sentence in table
    ]
