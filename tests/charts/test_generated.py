"""charts/schema.py: what it writes is what is in the repository, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charts.rendered import ROOT, generator

SCHEMA = generator()


def schema(source: str) -> Any:
    return SCHEMA.Values(source).schema()


@pytest.mark.parametrize("path", SCHEMA.generated(), ids=lambda p: str(p.relative_to(ROOT)))
def test_generated_files_are_what_make_docs_writes(path: Path) -> None:
    assert path.read_text() == SCHEMA.generated()[path], "run `make docs`"


def test_the_charts_crd_is_the_published_one() -> None:
    assert SCHEMA.CRD_COPY.read_bytes() == SCHEMA.CRD.read_bytes()


def test_types_follow_from_defaults_and_more_from_the_comment() -> None:
    found = schema(
        """\
# How many.
# @schema {minimum: 1}
count: 2
# A part.
part:
  # Whether.
  on: true
  # A share.
  share: 0.5
# Names.
# @schema {items: {type: string}}
names: []
# Labels.
# @schema {additionalProperties: {type: string}}
labels:
  a: b
"""
    )
    assert found["additionalProperties"] is False
    given = found["properties"]
    assert given["count"] == {"description": "How many.", "type": "integer", "minimum": 1}
    assert given["part"]["additionalProperties"] is False
    assert given["part"]["description"] == "A part."
    assert given["part"]["properties"]["on"]["type"] == "boolean"
    assert given["part"]["properties"]["share"]["type"] == "number"
    assert given["names"]["items"] == {"type": "string"}
    assert given["labels"]["additionalProperties"] == {"type": "string"}
    assert "properties" not in given["labels"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("a: 1\n", "a should have a comment above it"),
        ("a:\n  b: 1\n", "a.b should have a comment above it"),
        ("# A comment.\n\na: 1\n", "a should have a comment above it"),
        ("# A list.\na: []\n", "a should have an @schema line with items"),
        ("# A map.\na: {}\n", "a should have an @schema line with additionalProperties"),
        ("# Nothing.\na: null\n", "a should have an @schema line with its type"),
        ("- 1\n", "values.yaml should be a mapping"),
    ],
)
def test_a_value_that_is_not_described_is_refused(source: str, sentence: str) -> None:
    with pytest.raises(SCHEMA.ValuesError, match=sentence):
        schema(source)


def test_the_table_has_every_value_with_its_default_in_its_section() -> None:
    source = '# @section One\n# Either | or.\na: "x"\n# @section Two\nb:\n  # C.\n  c: [1]\n'
    found = SCHEMA.table(SCHEMA.Values(source).rows())
    assert found.splitlines() == [
        "### One",
        "",
        "| value | default | what it is |",
        "|---|---|---|",
        '| `a` | `"x"` | Either \\| or. |',
        "",
        "### Two",
        "",
        "| value | default | what it is |",
        "|---|---|---|",
        "| `b.c` | `[1]` | C. |",
    ]


def test_a_page_without_its_marks_is_named() -> None:
    with pytest.raises(SCHEMA.ValuesError, match=r"docs/helm\.md should have the lines"):
        SCHEMA.page("# Helm\n", {"model": ""})
