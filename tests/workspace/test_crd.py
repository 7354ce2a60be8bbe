"""The CRD is one that an API server takes, and the published file is what the code makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest

from berth.workspace.cel import RULES
from berth.workspace.crd import to_yaml
from berth.workspace.types import STORED_VERSION, VERSIONS
from tools.crd_page import page
from workspace.admission import FREE, ApiServer
from workspace.admission import RULES as VALIDATIONS
from workspace.cel_types import compile_rules
from workspace.manifests import CRD_FILE, ROOT, Json, crd, preset

# What apiextensions.k8s.io/v1 lets a structural schema have, of what is used here.
_KEYS = {
    *("type", "description", "default", "enum", "format", "required", "properties", "items"),
    *("additionalProperties", "minimum", "maximum", "minLength", "maxLength", "minItems"),
    *("maxItems", "maxProperties", FREE, VALIDATIONS),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
}
_COSTLY = ("matches", ".all(", "==")


def schema() -> Json:
    found: Json = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every schema node with its path; a list's items are `path[]`."""
    yield path, node
    for name, part in node.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}".removeprefix("."))
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if isinstance(values := node.get("additionalProperties"), dict):
        yield from nodes(values, f"{path}{{}}")


def test_the_published_file_is_the_one_that_the_code_makes() -> None:
    assert CRD_FILE.read_text() == to_yaml(), "make docs writes it anew"


@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_it_keeps_to_kubernetes_own_schema_of_a_crd(version: str) -> None:
    kubernetes_validate.validate(crd(), version, strict=True)


def test_the_page_of_the_fields_is_what_the_code_makes() -> None:
    text = (ROOT / "docs" / "workspace.md").read_text()
    assert text == page(text), "make docs writes it anew"
    for rule in RULES:
        assert rule.message in text
    for path, _ in nodes(schema()):
        known = path.startswith(("metadata", "inference.adapters[]")) or path.endswith(("[]", "{}"))
        assert known or f"`{path}`" in text or path in ("", "apiVersion", "kind", "status"), path


def test_both_versions_are_served_with_the_one_schema_and_one_is_stored() -> None:
    versions = crd()["spec"]["versions"]
    assert [v["name"] for v in versions] == list(VERSIONS)
    assert all(v["served"] for v in versions)
    assert [v["name"] for v in versions if v["storage"]] == [STORED_VERSION]
    assert versions[0]["schema"] == versions[1]["schema"]
    assert crd()["spec"]["conversion"] == {"strategy": "None"}


def test_its_names_are_kaitos() -> None:
    spec = crd()["spec"]
    assert crd()["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
    assert spec["group"] == "kaito.sh"
    assert spec["names"]["shortNames"] == ["wk", "wks"]
    assert "workspace" in spec["names"]["categories"]
    assert spec["scope"] == "Namespaced"


def test_its_columns_tell_what_a_newcomer_asks() -> None:
    for version in crd()["spec"]["versions"]:
        columns = {c["name"]: c["jsonPath"] for c in version["additionalPrinterColumns"]}
        of_kaito = ["TargetNodeCount", "State"] if version["name"] == "v1beta1" else []
        assert list(columns) == [
            *("Instance", "ResourceReady", "InferenceReady", "WorkspaceReady"),
            *("WorkspaceSucceeded", *of_kaito, "Fit", "URL", "Age"),
        ]
        known = {path for path, _ in nodes(schema())}
        plain = {path.removeprefix(".") for path in columns.values() if "[" not in path}
        assert plain - known == {"metadata.creationTimestamp"}


def test_there_is_no_scale_subresource_because_kubernetes_wants_it_below_spec() -> None:
    for version in crd()["spec"]["versions"]:
        assert version["subresources"] == {"status": {}}


@pytest.mark.parametrize(
    ("path", "node"), [pytest.param(p, node, id=p or ".") for p, node in nodes(schema())]
)
def test_every_node_of_the_schema_is_structural(path: str, node: Json) -> None:
    assert node["type"] in ("object", "array", "string", "integer", "boolean")
    assert node.keys() <= _KEYS
    assert not ("properties" in node and "additionalProperties" in node)
    assert set(node.get("required", ())) <= node.get("properties", {}).keys()
    if node["type"] == "array":
        assert "items" in node
    if node["type"] == "object" and not node.get(FREE):
        assert "properties" in node or "additionalProperties" in node
    if "default" in node:
        assert "enum" not in node or node["default"] in node["enum"]
    # oldSelf of a list's entries could not be told; rules there would need a list of type map.
    assert VALIDATIONS not in node or "[]" not in path


def test_nothing_is_said_of_metadata_but_its_name() -> None:
    assert schema()["properties"]["metadata"] == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 63},
            "generateName": {"type": "string"},
        },
    }


def test_every_field_that_is_the_users_is_described() -> None:
    silent = [
        path
        for path, node in nodes(schema())
        if not node.get("description")
        and not path.startswith(("metadata", "status", "inference.adapters[]"))
        and not path.endswith(("[]", "{}"))
        and path not in ("apiVersion", "kind")
    ]
    assert silent == []


def test_every_rule_compiles_against_the_schemas_types_and_is_true_or_false() -> None:
    compiled = compile_rules(schema())
    assert set(compiled.values()) == {"BOOL"}
    assert compiled.keys() == {rule.rule for rule in RULES}


def test_a_rule_of_a_field_that_does_not_exist_would_not_compile() -> None:
    broken = schema()
    broken["properties"]["inference"][VALIDATIONS] = [{"rule": "has(self.prest)"}]
    with pytest.raises(RuntimeError, match="undefined field 'prest'"):
        compile_rules(broken)


def test_every_rule_names_a_field_of_its_node() -> None:
    for path, node in nodes(schema()):
        for rule in node.get(VALIDATIONS, ()):
            assert rule.keys() <= {"rule", "message", "reason", "fieldPath"}
            assert rule["message"].strip()
            assert "\n" not in rule["message"]
            field = rule.get("fieldPath", "").removeprefix(".")
            assert not field or any(
                p == f"{path}.{field}".removeprefix(".") for p, _ in nodes(schema())
            )


def test_what_rules_walk_has_bounds() -> None:
    """Without them the API server counts with three megabytes, and refuses the CRD as too dear."""
    found = dict(nodes(schema()))
    for path, node in found.items():
        for rule in node.get(VALIDATIONS, ()):
            if not any(word in rule["rule"] for word in _COSTLY):
                continue
            for name in re.findall(r"\bself\.\??(\w+)\b(?!\()", rule["rule"]):
                for below, part in nodes(node["properties"][name], name):
                    _bounded(part, f"{path}: {below}")


@pytest.mark.parametrize("rule", [rule.rule for rule in RULES])
def test_the_api_server_can_tell_what_a_rule_costs(rule: str) -> None:
    """It knows how long a field can be, but not what comes out of an optional one: the CRD would
    be refused as over its budget a hundred times, as Kubernetes 1.36's own code does."""
    assert ".?" not in rule
    assert "orValue" not in rule
    walked = re.findall(r"([\w.()]+)\.(?:all|exists|exists_one|filter|map)\(", rule)
    assert all(re.fullmatch(r"self\.\w+", path) for path in walked)


def _bounded(node: Json, where: str) -> None:
    wanted: dict[str, str] = {"string": "maxLength", "array": "maxItems"}
    if node["type"] in wanted and "enum" not in node and where != ": metadata.generateName":
        assert wanted[node["type"]] in node, where
    if "additionalProperties" in node:
        assert "maxProperties" in node, where


def test_count_and_access_mode_have_defaults() -> None:
    manifest: Any = preset()
    del manifest["resource"]["count"], manifest["inference"]["preset"]["accessMode"]
    stored = ApiServer(crd(), "v1alpha1").admit(manifest | {"apiVersion": "kaito.sh/v1alpha1"})
    assert stored["resource"]["count"] == 1
    assert stored["inference"]["preset"]["accessMode"] == "public"
