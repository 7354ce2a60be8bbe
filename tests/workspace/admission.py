"""What a Kubernetes API server does with an object of a CustomResourceDefinition before it stores
it: nulls and unknown fields, defaults, the structural schema, then the CEL rules.

The CEL is evaluated by Google's own implementation. Rules are compiled twice: against types made
from the schema, as the API server does when the CRD is created (a field that does not exist fails
there), and against plain maps for evaluation, where a missing key is an error as in Kubernetes.
Sentences are worded as the API server's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

Json = dict[str, Any]

FREE = "x-kubernetes-preserve-unknown-fields"
RULES = "x-kubernetes-validations"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}
_REASONS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
}
# Kubernetes keeps these to itself: rules see no more of metadata.
_METADATA = ("name", "generateName")


@dataclass
class Errors:
    """What was found, and whether it keeps the rules from being asked."""

    sentences: list[str] = field(default_factory=list)
    rules: list[tuple[str, str]] = field(default_factory=list)  # field and message, of rules alone
    blocking: bool = False

    def add(self, path: str, sentence: str, *, blocking: bool = False) -> None:
        self.sentences.append(f"{path or '<nil>'}: {sentence}")
        self.blocking = self.blocking or blocking


class ApiServer:
    """One version of one CRD."""

    def __init__(self, crd: Json, version: str) -> None:
        self.kind = crd["spec"]["names"]["kind"]
        self.api_version = f"{crd['spec']['group']}/{version}"
        [found] = [v for v in crd["spec"]["versions"] if v["name"] == version and v["served"]]
        self.schema: Json = found["schema"]["openAPIV3Schema"]
        self._env = cel.NewEnv(
            variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN}, extensions=extensions()
        )
        self._compiled: dict[str, Any] = {}

    def admit(self, manifest: Json, old: Json | None = None, *, strict: bool = True) -> Json:
        """The object as it is stored. Raises Refused, with every sentence.

        Args:
            old: what is stored now, where this is an update.
            strict: unknown fields are errors, as kubectl asks for; else they are dropped.
        """
        stored = copy.deepcopy(manifest)
        errors = Errors()
        _drop_nulls(stored, self.schema)
        unknown = list(_prune(stored, self.schema, ""))
        if strict:
            for path in unknown:
                errors.add("strict decoding error", f'unknown field "{path}"')
        if stored.get("apiVersion") != self.api_version or stored.get("kind") != self.kind:
            errors.add("no matches for kind", f"{stored.get('kind')} in {stored.get('apiVersion')}")
        metadata = stored.get("metadata") or {}
        if not metadata.get("name") and not metadata.get("generateName"):
            errors.add("metadata.name", "Required value: name or generateName is required")
        _default(stored, self.schema)
        _structure(stored, self.schema, "", errors)
        if errors.blocking:
            errors.add("", "some validation rules were not checked because the object was invalid")
        else:
            self._rules(stored, old, self.schema, "", errors)
        if errors.sentences:
            raise Refused(errors, stored)
        return stored

    def _rules(self, value: Any, old: Any, schema: Json, path: str, errors: Errors) -> None:
        for rule in schema.get(RULES, ()):
            transition = re.search(r"\boldSelf\b", rule["rule"]) is not None
            if transition and old is None:
                continue
            data = {"self": visible(value, schema, root=not path)}
            if transition:
                data["oldSelf"] = visible(old, schema, root=not path)
            result = self._compile(rule["rule"]).eval(data=data)
            if result.type() == cel.Type.BOOL and result.value() is True:
                continue
            where = (path + rule.get("fieldPath", "")).removeprefix(".")
            if result.type() == cel.Type.BOOL:
                errors.add(where, f"{_REASONS[rule['reason']]}: {rule['message']}")
                errors.rules.append((where, rule["message"]))
            else:
                errors.add(where, f"Invalid value: rule {rule['rule']}: {result.value()}")
        if isinstance(value, dict):
            olds = old if isinstance(old, dict) else {}
            for name, part in schema.get("properties", {}).items():
                if name in value:
                    at = f"{path}.{name}" if path else name
                    self._rules(value[name], olds.get(name), part, at, errors)
        # No rule of ours is on a list's items, whose oldSelf would need the keys of a map list.

    def _compile(self, rule: str) -> Any:
        if rule not in self._compiled:
            self._compiled[rule] = self._env.compile(rule)
        return self._compiled[rule]


class Refused(Exception):
    """The API server's answer 422."""

    def __init__(self, errors: Errors, manifest: Json) -> None:
        super().__init__("; ".join(errors.sentences))
        self.sentences = errors.sentences
        self.rules = errors.rules
        self.blocking = errors.blocking  # then the rules were not asked
        self.manifest = manifest  # without nulls and unknown fields, and with defaults


def extensions() -> list[Any]:
    """What Kubernetes adds to CEL, as far as the rules use it."""
    return [ext_strings.ExtStrings(), ext_optional.ExtOptional()]


def visible(value: Any, schema: Json, *, root: bool = False) -> Any:
    """What a rule may see: only what the schema names."""
    if isinstance(value, list):
        return [visible(part, schema.get("items", {})) for part in value]
    if not isinstance(value, Mapping) or "additionalProperties" in schema:
        return value
    seen = {
        name: visible(value[name], part)
        for name, part in schema.get("properties", {}).items()
        if name in value
    }
    if root:
        metadata = value.get("metadata", {})
        seen["metadata"] = {key: metadata[key] for key in _METADATA if key in metadata}
    return seen


def _drop_nulls(value: Any, schema: Json) -> None:
    """Null of a field that is not nullable is as good as absent."""
    if isinstance(value, list):
        for part in value:
            _drop_nulls(part, schema.get("items", {}))
    if not isinstance(value, dict):
        return
    for name, part in schema.get("properties", {}).items():
        if name in value and value[name] is None:
            del value[name]
        elif name in value:
            _drop_nulls(value[name], part)


def _prune(value: Any, schema: Json, path: str) -> Iterator[str]:
    """Take away unknown fields, and say which."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from _prune(part, schema.get("items", {}), f"{path}[{index}]")
    if not isinstance(value, dict) or "additionalProperties" in schema:
        return
    fields = schema.get("properties", {})
    for name in list(value):
        at = f"{path}.{name}" if path else str(name)
        if at == "metadata":
            continue
        if name in fields:
            yield from _prune(value[name], fields[name], at)
        elif not schema.get(FREE):
            del value[name]
            yield at


def _default(value: Any, schema: Json) -> None:
    if isinstance(value, list):
        for part in value:
            _default(part, schema.get("items", {}))
    if not isinstance(value, dict):
        return
    for name, part in schema.get("properties", {}).items():
        if name not in value and "default" in part:
            value[name] = copy.deepcopy(part["default"])
        if name in value:
            _default(value[name], part)


def _structure(value: Any, schema: Json, path: str, errors: Errors) -> None:
    """Type, required, enum, bounds and patterns."""
    wanted = _TYPES[schema["type"]]
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        shown = type(value).__name__
        text = f'Invalid value: {path} in body must be of type {schema["type"]}: "{shown}"'
        errors.add(path, text, blocking=True)
        return
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(f'"{choice}"' for choice in schema["enum"])
        errors.add(path, f'Unsupported value: "{value}": supported values: {known}', blocking=True)
    if isinstance(value, str):
        _text(value, schema, path, errors)
    if isinstance(value, int):
        for key, words, wrong in (
            ("minimum", "greater", value < schema.get("minimum", value)),
            ("maximum", "less", value > schema.get("maximum", value)),
        ):
            if wrong:
                text = f"should be {words} than or equal to {schema[key]}"
                errors.add(path, f"Invalid value: {value}: {path} in body {text}")
    if isinstance(value, list):
        _list(value, schema, path, errors)
    if isinstance(value, dict):
        _object(value, schema, path, errors)


def _text(value: str, schema: Json, path: str, errors: Errors) -> None:
    if len(value) > schema.get("maxLength", len(value)):
        text = f"Too long: may not be more than {schema['maxLength']} bytes"
        errors.add(path, text, blocking=True)
    if len(value) < schema.get("minLength", 0):
        text = f"should be at least {schema['minLength']} chars long"
        errors.add(path, f'Invalid value: "{value}": {path} in body {text}')


def _list(value: list[Any], schema: Json, path: str, errors: Errors) -> None:
    if len(value) > schema.get("maxItems", len(value)):
        text = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        errors.add(path, text, blocking=True)
    if len(value) < schema.get("minItems", 0):
        text = f"should have at least {schema['minItems']} items"
        errors.add(path, f"Invalid value: {len(value)}: {path} in body {text}")
    for index, part in enumerate(value):
        _structure(part, schema["items"], f"{path}[{index}]", errors)


def _object(value: Json, schema: Json, path: str, errors: Errors) -> None:
    for name in schema.get("required", ()):
        if name not in value:
            errors.add(f"{path}.{name}" if path else name, "Required value", blocking=True)
    if len(value) > schema.get("maxProperties", len(value)):
        text = f"Too many: {len(value)}: must have at most {schema['maxProperties']} items"
        errors.add(path, text, blocking=True)
    fields, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, part in value.items():
        at = f"{path}.{name}" if path else str(name)
        if name in fields:
            _structure(part, fields[name], at, errors)
        elif others is not None:
            _structure(part, others, at, errors)
