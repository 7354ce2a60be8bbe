"""The CustomResourceDefinition, made from the types and the rules.

    python -m berth.workspace.crd > api/kaito.sh_workspaces.yaml

Both versions have the one schema, so that conversion None is right: nothing is lost on the way
from one to the other. There is no scale subresource: Kubernetes only allows replicas below
`.spec`, and a Workspace has none.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import yaml

from berth.workspace.cel import RULES, Rule
from berth.workspace.types import (
    GROUP,
    KIND,
    PLURAL,
    STORED_VERSION,
    VERSIONS,
    Status,
    TemplateShape,
    Workspace,
)

_FREE = "x-kubernetes-preserve-unknown-fields"
_HEADER = "# Made by `make docs` (python -m berth.workspace.crd); do not edit.\n"
# JSON schema's keys that a structural schema does not have.
_FOREIGN = ("$defs", "title", "propertyNames", "default", "required")


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out each time, without YAML's links between them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def crd() -> dict[str, Any]:
    """The whole object, for apiextensions.k8s.io/v1."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["wk", "wks"],
                "categories": ["workspace", "berth"],
            },
            "scope": "Namespaced",
            "conversion": {"strategy": "None"},
            "versions": [_version(name) for name in VERSIONS],
        },
    }


def to_yaml() -> str:
    """The file in api/."""
    return _HEADER + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, width=100)


def schema() -> dict[str, Any]:
    """The structural schema of a Workspace, with its rules."""
    root = _structural(Workspace)
    properties = root["properties"]
    properties["inference"]["properties"]["template"] = _structural(TemplateShape, free=True)
    # The API server looks after metadata itself; a bound on the name is all that may be added.
    metadata = {"type": "object", "properties": properties.pop("metadata")["properties"]}
    root["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": metadata,
        **properties,
        "status": _structural(Status),
    }
    for rule in RULES:
        _node(root, rule.at).setdefault("x-kubernetes-validations", []).append(_validation(rule))
    return root


def _version(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": name == STORED_VERSION,
        "schema": {"openAPIV3Schema": schema()},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            _column("Instance", ".resource.instanceType"),
            *(
                _column(type, f'.status.conditions[?(@.type=="{type}")].status')
                for type in (
                    *("ResourceReady", "InferenceReady", "WorkspaceReady"),
                    "WorkspaceSucceeded",
                )
            ),
            *(
                (
                    _column("TargetNodeCount", ".status.targetNodeCount", "integer"),
                    _column("State", ".status.state"),
                )
                if name == "v1beta1"
                else ()
            ),
            _column("Fit", ".status.fit.outcome"),
            _column("URL", ".status.endpoint"),
            _column("Age", ".metadata.creationTimestamp", "date"),
        ],
    }


def _column(name: str, path: str, type: str = "string") -> dict[str, Any]:
    return {"name": name, "type": type, "jsonPath": path}


def _validation(rule: Rule) -> dict[str, Any]:
    made = {"rule": rule.rule, "message": rule.message, "reason": rule.reason}
    return made | ({"fieldPath": f".{rule.field}"} if rule.field else {})


def _node(root: dict[str, Any], at: str) -> dict[str, Any]:
    node = root
    for name in at.split(".") if at else ():
        node = node["properties"][name]
    return node


def _structural(kind: type[msgspec.Struct], *, free: bool = False) -> dict[str, Any]:
    """The structural schema of one type; `free`: what it does not name is kept, everywhere."""
    made = msgspec.json.schema(kind)
    return _convert(made, made["$defs"], free)


def _convert(node: dict[str, Any], definitions: dict[str, Any], free: bool) -> dict[str, Any]:
    node = _resolved(node, definitions)
    made = {key: value for key, value in node.items() if key not in _FOREIGN}
    if "enum" in made:
        made["type"] = "string"
    if node.get("default"):  # an empty one says no more than its absence
        made["default"] = node["default"]
    if "items" in made:
        made["items"] = _convert(made["items"], definitions, free)
    if isinstance(values := made.get("additionalProperties"), dict):
        made["additionalProperties"] = _convert(values, definitions, free)
    if "properties" in made:
        fields = made.pop("properties").items()
        if node["required"]:
            made["required"] = node["required"]
        made["properties"] = {name: _convert(field, definitions, free) for name, field in fields}
        if free:
            made[_FREE] = True
    return made


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The node with its reference put in, and without null, which every optional field takes."""
    if "anyOf" in node:
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        [only] = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
        return _resolved(only | rest, definitions)
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        meant: dict[str, Any] = definitions[node["$ref"].rpartition("/")[2]]
        return meant | rest
    return node


if __name__ == "__main__":
    sys.stdout.write(to_yaml())
