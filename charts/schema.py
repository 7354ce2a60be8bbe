"""What follows from the charts' values.yaml: values.schema.json, and the tables of docs/helm.md.

The comment above a value is its documentation. In it, a line `@section TITLE` begins a part of
the table, and `@schema {…}` adds JSON schema to what the default's type says. Every value needs a
comment, and what a default cannot show (the items of an empty list) needs an @schema line.

Three files of the charts are written here too: the copy of the CRD from api/, the rules of the
controller's roles from the table that its client asks, and charts/model's dashboard, the part of
charts/berth's that is about models. `make docs` runs this file.
No library does this: the tools for it are Go programs and Node packages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from berth.controller.rbac import GRANTS, rules

CHARTS = Path(__file__).parent
NAMES = ("berth", "model")
PAGE = CHARTS.parent / "docs" / "helm.md"
CRD = CHARTS.parent / "api" / "kaito.sh_workspaces.yaml"
CRD_COPY = CHARTS / "berth" / "files" / "kaito.sh_workspaces.yaml"
DASHBOARD = CHARTS / "berth" / "files" / "dashboard.json"
MODEL_DASHBOARD = CHARTS / "model" / "files" / "dashboard.json"
RULES = CHARTS / "berth" / "files" / "rules.yaml"

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


class ValuesError(ValueError):
    """A value without what the generator needs; the message is a sentence that names it."""


@dataclass(frozen=True, slots=True)
class Comment:
    """The block of comment lines right above a value."""

    text: str = ""
    section: str = ""
    schema: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One value of the table."""

    path: str
    default: str
    text: str
    section: str


class Values:
    """One chart's values.yaml, with the comments that PyYAML leaves out."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines()
        root = yaml.compose(source, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise ValuesError("values.yaml should be a mapping")
        self._root = root

    def schema(self) -> dict[str, Any]:
        """JSON schema, draft 7 (Helm 3 knows no newer one). Unknown values are refused.

        Raises:
            ValuesError: a value lacks its comment, or what its default cannot show.
        """
        found = self._of_mapping(self._root, "")
        # Where the chart is a dependency of another, Helm adds that one's globals.
        found["properties"]["global"] = {"type": "object"}
        return {"$schema": "http://json-schema.org/draft-07/schema#", **found}

    def rows(self) -> list[Row]:
        """Every value, in the file's order."""
        return list(self._rows(self._root, "", ""))

    def _of_mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        properties = {
            key.value: self._of_value(key, value, f"{path}.{key.value}".lstrip("."))
            for key, value in node.value
        }
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def _of_value(self, key: yaml.Node, value: yaml.Node, path: str) -> dict[str, Any]:
        comment = self._comment(key)
        described = {"description": comment.text} if comment.text else {}
        kind = value.tag.rpartition(":")[2]
        if _is_group(value, comment):
            assert isinstance(value, yaml.MappingNode)
            return {**described, **self._of_mapping(value, path), **comment.schema}
        if not comment.text:
            raise ValuesError(f"{path} should have a comment above it that says what it is")
        if kind == "map":
            if "additionalProperties" not in comment.schema:
                raise ValuesError(f"{path} should have an @schema line with additionalProperties")
            return {**described, "type": "object", **comment.schema}
        if kind == "seq":
            if "items" not in comment.schema:
                raise ValuesError(f"{path} should have an @schema line with items")
            return {**described, "type": "array", **comment.schema}
        if kind == "null" and "type" not in comment.schema:
            raise ValuesError(f"{path} should have an @schema line with its type")
        return {**described, **({"type": _TYPES[kind]} if kind in _TYPES else {}), **comment.schema}

    def _rows(self, node: yaml.MappingNode, path: str, section: str) -> Iterator[Row]:
        for key, value in node.value:
            comment = self._comment(key)
            section = comment.section or section
            here = f"{path}.{key.value}".lstrip(".")
            if _is_group(value, comment):
                yield from self._rows(value, here, section)
            else:
                yield Row(here, _shown(value), comment.text, section)

    def _comment(self, key: yaml.Node) -> Comment:
        """What stands above a key, at its own indentation."""
        above: list[str] = []
        line = key.start_mark.line - 1
        mark = " " * key.start_mark.column + "#"
        while line >= 0 and self._lines[line].startswith(mark):
            above.insert(0, self._lines[line].strip().lstrip("#").strip())
            line -= 1
        section = next((s.partition(" ")[2] for s in above if s.startswith("@section ")), "")
        schema = [s.partition(" ")[2] for s in above if s.startswith("@schema ")]
        text = " ".join(s for s in above if s and not s.startswith("@"))
        return Comment(text, section, yaml.safe_load(schema[0]) if schema else {})


def _is_group(value: yaml.Node, comment: Comment) -> bool:
    """A mapping whose keys the chart knows, as against one that its owner fills."""
    known = isinstance(value, yaml.MappingNode) and bool(value.value)
    return known and "additionalProperties" not in comment.schema


def _shown(value: yaml.Node) -> str:
    plain = yaml.SafeLoader("")
    try:
        return json.dumps(plain.construct_object(value, deep=True))
    finally:
        plain.dispose()


def table(rows: list[Row]) -> str:
    """Markdown: one table per section."""
    out: list[str] = []
    section = None
    for row in rows:
        if row.section != section:
            section = row.section
            out += ["", f"### {section}", "", "| value | default | what it is |", "|---|---|---|"]
        text = row.text.replace("|", "\\|")
        out.append(f"| `{row.path}` | `{row.default}` | {text} |")
    return "\n".join(out).strip()


def page(text: str, tables: dict[str, str]) -> str:
    """The page with its tables anew, each between its two marks."""
    for name, content in tables.items():
        begin, end = f"<!-- values of {name} -->", "<!-- end -->"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        if re.search(pattern, text, re.DOTALL) is None:
            raise ValuesError(f"docs/helm.md should have the lines {begin} and {end}")
        replaced = f"{begin}\n{content}\n{end}".replace("\\", "\\\\")
        text = re.sub(pattern, replaced, text, flags=re.DOTALL)
    return text


def rules_file() -> str:
    """The rules of each scope."""
    scopes = dict.fromkeys(grant.scope for grant in GRANTS)
    written = yaml.safe_dump({scope: rules(scope) for scope in scopes}, sort_keys=False)
    return f"# Written by `make docs` from src/berth/controller/rbac.py; do not edit.\n{written}"


def model_dashboard(whole: str) -> str:
    """The panels of models, up to the row of the controller's. The template puts in both names."""
    board = json.loads(whole)
    titles = [panel["title"] for panel in board["panels"]]
    board["panels"] = board["panels"][1 : titles.index("Controller")]  # without the row's heading
    return json.dumps({**board, "uid": "@uid@", "title": "@title@"}, indent=1) + "\n"


def generated() -> dict[Path, str]:
    """Every file that follows from another, and what should be in it."""
    files = {}
    tables = {}
    for name in NAMES:
        values = Values((CHARTS / name / "values.yaml").read_text())
        schema = json.dumps(values.schema(), indent=2) + "\n"
        files[CHARTS / name / "values.schema.json"] = schema
        tables[name] = table(values.rows())
    files[PAGE] = page(PAGE.read_text(), tables)
    files[CRD_COPY] = CRD.read_text()
    files[RULES] = rules_file()
    files[MODEL_DASHBOARD] = model_dashboard(DASHBOARD.read_text())
    return files


def main() -> None:
    """Write them."""
    for path, content in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main()
