"""Rules of a request that its types do not tell, as they stand in the OpenAPI document.

The structs that parse a body are also its schema. Ranges that are checked later (so that the
refusal has the dialect's own words) are stated beside the field with `stated`, rules between
fields in the struct's `json_schema`. What depends on the server's settings or on its model is a
`bound` by name, which `resolved` fills in or leaves out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

import msgspec

Schema = Mapping[str, Any]

INT32 = 2**31 - 1
_STATED, _BOUND = "x-stated", "x-bound"
_REF = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes; 0 and the empty: not known, or not to be published."""

    choices: int
    prompts: int
    context: int = 0  # tokens of prompt and output together
    vocabulary: int = 0  # tokens that there are
    names: tuple[str, ...] = ()  # of the served model
    roles: frozenset[str] = frozenset()  # that its chat template knows
    fields: frozenset[str] = frozenset()  # of a message, that the template writes
    generate: bool = True  # whether Hugging Face's generate is there


def stated(**keywords: Any) -> msgspec.Meta:
    """JSON Schema keywords that msgspec does not check; they count before those that it does."""
    description = keywords.pop("description", None)
    return msgspec.Meta(description=description, extra_json_schema={_STATED: keywords})


def bound(name: str) -> dict[str, str]:
    """A limit by its name in `_BOUNDS`, for `stated(**bound("token"))`."""
    assert name in _BOUNDS
    return {_BOUND: name}


def number(low: float | None = None, high: float | None = None, *, above: bool = False) -> Schema:
    """Keywords of a finite number in a range; `above`: without `low` itself."""
    least = {} if low is None else {"exclusiveMinimum" if above else "minimum": low}
    return {**least, "maximum": sys.float_info.max if high is None else high}


_TOOL_CALLS: Schema = {
    "maxItems": INT32,
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"]},
            "type": {"const": "function"},
            "function": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "arguments": {
                        "description": "a JSON object, or its text",
                        "type": ["string", "object", "null"],
                    },
                },
                "required": ["name"],
            },
        },
        "required": ["function"],
    },
}

_Bound = Callable[[Limits, Schema], Schema]
_BOUNDS: dict[str, _Bound] = {
    "choices": lambda limits, _: {"maximum": limits.choices},
    "prompts": lambda limits, _: {"maxItems": limits.prompts},
    # A token id, an output's length beside a prompt of one token, and lists that hold tokens.
    "token": lambda limits, _: {"maximum": limits.vocabulary - 1} if limits.vocabulary else {},
    "room": lambda limits, _: {"maximum": limits.context - 1} if limits.context else {},
    "context": lambda limits, _: {"maxItems": limits.context} if limits.context else {},
    "prompt": lambda limits, _: {"maxItems": limits.context - 1} if limits.context else {},
    "vocabulary": lambda limits, _: {"maxItems": limits.vocabulary} if limits.vocabulary else {},
    "token_keys": lambda limits, _: {"propertyNames": {"pattern": _token_keys(limits.vocabulary)}},
    "names": lambda limits, _: {"enum": [*limits.names, "", None]} if limits.names else {},
    "roles": lambda limits, own: _known(own["enum"], limits.roles) if limits.roles else {},
    # Tool calls of a history: none, or any number of the one form; then content may be left out.
    "calls": lambda limits, _: _TOOL_CALLS if "tool_calls" in limits.fields else {},
    "said": lambda limits, own: _said_or_called(own) if "tool_calls" in limits.fields else {},
    # What only generate does, if it is not there: the default, or null.
    "generate": lambda limits, own: {} if limits.generate else _left_at(own["default"]),
}


def resolved(schema: Any, limits: Limits) -> Any:
    """The schema with what was stated in its place, and every bound filled in that is known."""
    if isinstance(schema, Mapping):
        told = {**schema, **schema.get(_STATED, {})}
        own = {key: resolved(told[key], limits) for key in told if key not in (_STATED, _BOUND)}
        return {**own, **_BOUNDS[told[_BOUND]](limits, own)} if _BOUND in told else own
    if isinstance(schema, list | tuple):
        return [resolved(item, limits) for item in schema]
    return schema


def _known(roles: Sequence[str], taken: frozenset[str]) -> Schema:
    """Of all roles those that are taken; developer is another word for system."""
    return {"enum": [r for r in roles if ("system" if r == "developer" else r) in taken]}


def _said_or_called(said: Schema) -> Schema:
    """Of a message that says something as `said` has it, or is the assistant's and calls tools."""
    calls = {"type": "array", "minItems": 1}
    called = {"properties": {"role": {"const": "assistant"}, "tool_calls": calls}}
    either = [dict(said), {**called, "required": ["tool_calls"]}]
    return {"properties": {}, "required": [], "anyOf": either}


def _left_at(default: object) -> Schema:
    return {"enum": [None] if default is None else [default, None]}


def _token_keys(vocabulary: int) -> str:
    """A pattern of the keys of an object that are token ids."""
    return f"^({_up_to(str(vocabulary - 1))})$" if vocabulary else "^(0|[1-9][0-9]{0,8})$"


def _up_to(most: str) -> str:
    """A pattern of the integers from 0 to `most`, without leading zeros."""
    shorter = ["[0-9]"] if len(most) > 1 else []
    shorter += [f"[1-9][0-9]{{{n}}}" for n in range(1, len(most) - 1)]
    ways = []
    for at, digit in enumerate(most):
        low = 1 if at == 0 and len(most) > 1 else 0
        rest = len(most) - at - 1
        if int(digit) > low:
            tail = f"[0-9]{{{rest}}}" if rest else ""
            ways.append(f"{most[:at]}[{low}-{int(digit) - 1}]{tail}")
    return "|".join([*shorter, *ways, most])


@lru_cache(maxsize=8)
def components(
    structs: tuple[type[msgspec.Struct], ...],
) -> tuple[dict[type[msgspec.Struct], Schema], dict[str, Any]]:
    """How each struct is referred to, and the definitions of all, those inside them included.

    Two structs of one name get the names that msgspec gives them, with their modules. What is
    returned is kept: do not change it.
    """
    everything = list(dict.fromkeys(inner for struct in structs for inner in _within(struct)))
    refs, definitions = msgspec.json.schema_components(everything, ref_template=_REF)
    by_struct: dict[type[msgspec.Struct], Schema] = dict(zip(everything, refs, strict=True))
    for struct, ref in by_struct.items():
        rules = struct.__dict__.get("json_schema")
        if rules is not None:
            name = ref["$ref"].rpartition("/")[2]
            definitions[name] = merged(definitions[name], rules)
    return by_struct, definitions


def merged(schema: Schema, more: Schema) -> dict[str, Any]:
    """Both, objects inside them too; of anything else that both have, `more` counts."""
    result = dict(schema)
    for key, value in more.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _within(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    yield struct
    pending: list[Any] = [field.type for field in msgspec.structs.fields(struct)]
    while pending:
        part = pending.pop()
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            yield from _within(part)
        else:
            pending.extend(get_args(part))
