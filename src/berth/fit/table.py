"""Tables that come with the package: CSV files, each with a JSON schema that they are held to."""

from __future__ import annotations

import csv
import json
from importlib import resources
from typing import Any


class TableError(ValueError):
    """A table does not keep to its schema. Names the file, the row and the field."""


def load_table(name: str) -> list[dict[str, str]]:
    """The rows of data/`name`.csv, checked against data/`name`.schema.json."""
    folder = resources.files("berth.fit") / "data"
    schema = json.loads((folder / f"{name}.schema.json").read_text("utf-8"))
    text = (folder / f"{name}.csv").read_text("utf-8")
    return check_table(f"{name}.csv", text, schema)


def check_table(file: str, text: str, schema: dict[str, Any]) -> list[dict[str, str]]:
    """Parse `text` and hold every row to `schema`.

    Raises:
        TableError: the header differs, a required field is empty, a value is of the wrong type,
            out of its range or not among the allowed ones, or a unique one comes twice.
    """
    reader = csv.DictReader(text.splitlines())
    fields = schema["fields"]
    wanted = [field["name"] for field in fields]
    if list(reader.fieldnames or []) != wanted:
        raise TableError(f"{file}: the header should be {','.join(wanted)}")
    rows = list(reader)
    for number, row in enumerate(rows, start=2):
        for field in fields:
            if (fault := _fault(row[field["name"]], field)) is not None:
                raise TableError(f"{file}, line {number}: {field['name']} {fault}")
    for field in fields:
        if field.get("unique"):
            _check_unique(file, field["name"], rows)
    return rows


def _fault(value: str | None, field: dict[str, Any]) -> str | None:
    if value is None:
        return "is missing"
    if value == "":
        return "is empty" if field["required"] else None
    if field["type"] == "string":
        allowed = field.get("enum")
        return None if allowed is None or value in allowed else f"should be one of {allowed}"
    try:
        number = int(value) if field["type"] == "integer" else float(value)
    except ValueError:
        return f"should be {field['type']}, not {value!r}"
    low, high = field.get("minimum"), field.get("maximum")
    if (low is not None and number < low) or (high is not None and number > high):
        return f"should be between {low} and {high}, not {value}"
    return None


def _check_unique(file: str, name: str, rows: list[dict[str, str]]) -> None:
    seen: set[str] = set()
    for row in rows:
        key = row[name].lower()
        if key in seen:
            raise TableError(f"{file}: {name} {row[name]} comes twice")
        seen.add(key)
