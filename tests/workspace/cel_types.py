"""The types that a schema gives to CEL: one protobuf message for each of its objects.

The API server compiles rules against such types when a CRD is created; what does not compile
keeps the CRD from being created at all.
"""

from __future__ import annotations

from typing import Any

from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool

from workspace.admission import RULES, extensions

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "integer": _Field.TYPE_INT64,
    "number": _Field.TYPE_DOUBLE,
    "boolean": _Field.TYPE_BOOL,
}
_PACKAGE = "schema"


def compile_rules(schema: dict[str, Any]) -> dict[str, str]:
    """Each rule with the type that it gives. Raises RuntimeError where one does not compile."""
    file = descriptor_pb2.FileDescriptorProto(
        name="schema.proto", package=_PACKAGE, syntax="proto3"
    )
    _message(file.message_type, "Root", schema, f".{_PACKAGE}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found: dict[str, str] = {}
    _compile(schema, f"{_PACKAGE}.Root", pool, found)
    return found


def _compile(schema: dict[str, Any], message: str, pool: Any, found: dict[str, str]) -> None:
    if RULES in schema:
        itself = cel.Type(message)
        env = cel.NewEnv(
            pool, variables={"self": itself, "oldSelf": itself}, extensions=extensions()
        )
        for rule in schema[RULES]:
            found[rule["rule"]] = env.compile(rule["rule"]).return_type().name()
    for name, part in schema.get("properties", {}).items():
        if _is_object(part):
            _compile(part, f"{message}.{_nested(name)}", pool, found)


def _message(into: Any, name: str, schema: dict[str, Any], scope: str) -> None:
    message = into.add(name=name)
    path = f"{scope}.{name}"
    for number, (key, part) in enumerate(schema.get("properties", {}).items(), 1):
        entry = message.field.add(name=key, json_name=key, number=number)
        entry.label = _Field.LABEL_OPTIONAL
        if part["type"] == "array":
            entry.label, part = _Field.LABEL_REPEATED, part["items"]
        if "additionalProperties" in part:
            entry.label, entry.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
            entry.type_name = f"{path}.{_map(message, key, part['additionalProperties'])}"
        elif _is_object(part):
            _message(message.nested_type, _nested(key), part, path)
            entry.type, entry.type_name = _Field.TYPE_MESSAGE, f"{path}.{_nested(key)}"
        else:
            entry.type = _SCALARS[part["type"]]


def _map(message: Any, key: str, values: dict[str, Any]) -> str:
    """A nested message that protobuf reads as a map with string keys."""
    made = message.nested_type.add(name=f"{key[0].upper()}{key[1:]}Entry")
    made.options.map_entry = True
    for number, (name, kind) in enumerate(
        (("key", _Field.TYPE_STRING), ("value", _SCALARS[values["type"]])), 1
    ):
        made.field.add(name=name, number=number, type=kind, label=_Field.LABEL_OPTIONAL)
    return str(made.name)


def _is_object(schema: dict[str, Any]) -> bool:
    return schema["type"] == "object" and "additionalProperties" not in schema


def _nested(name: str) -> str:
    return f"{name[0].upper()}{name[1:]}_"
