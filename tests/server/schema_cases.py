"""Values that a JSON schema allows, drawn by hypothesis; ends of ranges more often than not.

What a schema says in `if`, `not` and `allOf` is left to the validator: draw, then look.
"""

from __future__ import annotations

import sys
from typing import Any

from api_document import Document
from hypothesis import strategies as st

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_ANYTHING = st.none() | st.booleans() | st.integers(-3, 3) | _TEXT | st.just([]) | st.just({})
_SHORT = 4  # entries of a list, where the schema has no smaller limit
_OFTEN = st.integers(0, 5).map(lambda n: n == 0)  # whether an optional field is there


def values(document: Document, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Most of them are valid; all are where the schema has none of the words above."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: values(document, document.page["components"]["schemas"][name]))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            rest = {key: value for key, value in schema.items() if key != word}
            return st.one_of([values(document, _both(rest, way)) for way in schema[word]])
    kind = schema.get("type")
    if kind == "object":
        return _objects(document, schema)
    if kind == "array":
        most = min(schema.get("maxItems", _SHORT), _SHORT)
        items = values(document, schema.get("items", {}))
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=most)
    if kind == "string":
        if "pattern" in schema:
            return st.from_regex(schema["pattern"].replace("$", r"\Z"))
        least, most = schema.get("minLength", 0), schema.get("maxLength", 12)
        ends = st.sampled_from(["a" * least, "é" * most])
        return ends | st.text(st.characters(codec="utf-8"), min_size=least, max_size=min(most, 12))
    if kind == "integer":
        least, most = schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1)
        whole = st.sampled_from([least, most]) | st.integers(least, most)
        return whole | whole.filter(lambda n: abs(n) < 2**53).map(float)
    if kind == "number":
        return _numbers(schema)
    if kind == "boolean":
        return st.booleans()
    if kind == "null":
        return st.none()
    return _ANYTHING


def _numbers(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    above = "exclusiveMinimum" in schema
    least = schema.get("exclusiveMinimum", schema.get("minimum", -sys.float_info.max))
    most = schema.get("maximum", sys.float_info.max)
    ends = [most] if above else [least, most]
    return st.sampled_from(ends) | st.floats(least, most, exclude_min=above, allow_subnormal=False)


def _objects(document: Document, schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    required = set(schema.get("required", ()))
    fields = {name: values(document, one) for name, one in schema.get("properties", {}).items()}
    keys = values(document, {"type": "string", **schema.get("propertyNames", {})})
    others = schema.get("additionalProperties")
    free = st.just({})
    if others or not fields:
        free = st.dictionaries(keys, values(document, others or {}), max_size=3)

    @st.composite
    def drawn(draw: st.DrawFn) -> dict[str, Any]:
        result = dict(draw(free))
        for name, strategy in fields.items():
            if name in required or draw(_OFTEN):
                result[name] = draw(strategy)
        return result

    return drawn()


def _both(schema: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    merged = dict(schema)
    for key, value in more.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _both(old, value)
        elif key == "required" and old:
            merged[key] = [*old, *value]
        else:
            merged[key] = value
    return merged
