"""Writes the parts of docs/workspace.md that follow from the code.

python -m tools.crd_page docs/workspace.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from berth.workspace.cel import RULES
from berth.workspace.crd import schema
from berth.workspace.options import OPTIONS, OURS, SYNONYMS

_PART = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_KINDS = {
    "whole": "a whole number of at least 1",
    "number": "a number above 0",
    "text": "a text",
    "flag": "true or false",
    "texts": "a text or a list of texts",
}


def page(text: str) -> str:
    """The page with its made parts as they should be. Raises KeyError for an unknown part."""
    parts = {
        "fields": _table(("field", "type", "meaning"), _fields(schema(), "")),
        "status": _table(("field", "type", "meaning"), _fields(_status(), "status")),
        "rules": _table(("field", "sentence"), _rules()),
        "options": _table(("option", "value", "also called"), _options()),
    }
    return _PART.sub(lambda found: f"{found[1]}{parts[found[2]]}\n{found[3]}", text)


def _status() -> dict[str, Any]:
    found: dict[str, Any] = schema()["properties"]["status"]
    return found


def _fields(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, ...]]:
    """Each field below this node, the parts of a list's entries too."""
    for name, part in node.get("properties", {}).items():
        at = f"{path}.{name}".removeprefix(".")
        if at in ("apiVersion", "kind", "metadata", "status"):
            continue
        required = ", required" if name in node.get("required", ()) else ""
        default = f", default {part['default']}" if "default" in part else ""
        yield f"`{at}`", f"{_type(part)}{required}{default}", part.get("description", "")
        if not _is_refused(at):
            yield from _fields(part, at)
            yield from _fields(part.get("items", {}), f"{at}[]")


def _is_refused(path: str) -> bool:
    """Whether a rule refuses the field whatever it holds: its parts then are of no interest."""
    return path == "inference.adapters"


def _type(node: Mapping[str, Any]) -> str:
    if "enum" in node:
        return " or ".join(node["enum"])
    if node["type"] == "array":
        return f"list of {_type(node['items'])}s"
    if "additionalProperties" in node:
        return f"map to {_type(node['additionalProperties'])}s"
    return {"object": "map", "integer": "whole number"}.get(node["type"], str(node["type"]))


def _rules() -> Iterator[tuple[str, ...]]:
    for rule in RULES:
        yield f"`{rule.path}`" if rule.path else "", rule.message


def _options() -> Iterator[tuple[str, ...]]:
    for name, kind in OPTIONS.items():
        if name not in OURS:
            others = ", ".join(f"`{o}`" for o, meant in SYNONYMS.items() if meant == name)
            yield f"`{name}`", _KINDS[kind], others


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(page(file.read_text()))
