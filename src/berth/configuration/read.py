"""A tree of nodes held to the types of `tree`: each value with where it comes from.

Laid over each other: the file, then the environment. A command line is laid over both by click.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping as Environment
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UnsetType

from berth.configuration.errors import ConfigurationError
from berth.configuration.nodes import Mapping, Node, Scalar, Sequence, parse
from berth.configuration.tree import NOT_YET, PATHS, Model, Tree
from berth.near import nearest

PREFIX = "BERTH_"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SHOWN = 60  # characters of a wrong value


@dataclass(frozen=True, slots=True)
class Value:
    """One value that was given. `from_file`: else the environment's."""

    value: Any
    origin: str
    from_file: bool
    path: bool  # a path of the file system


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that was given, by its key's words: ("models", "pocket", "dtype")."""

    values: dict[tuple[str | int, ...], Value]
    tree: Tree
    name: str | None  # of the file


def dotted(key: tuple[str | int, ...]) -> str:
    """A key as errors and `berth config show` write it: `listeners[0].port`."""
    said = ""
    for word in key:
        if isinstance(word, int):
            said += f"[{word}]"
        else:
            said += f".{word}" if said else word
    return said


def read(text: str | None, name: str, environment: Environment[str, str]) -> Configuration:
    """The configuration of a file's text, None for no file, with the environment over it.

    Raises:
        ConfigurationError: all that is wrong with it.
    """
    root = Mapping({}, name) if text is None else parse(text, name)
    problems: list[str] = []
    for variable in _variables(environment):
        words = variable.removeprefix(PREFIX).split("__")
        try:
            root = _lay(root, Tree, words, environment[variable], variable)
        except ConfigurationError as error:
            problems += error.problems
    reading = _Reading(name, problems)
    built = reading.build(root, Tree, ())
    if problems:
        raise ConfigurationError(problems)
    tree = msgspec.convert(built, Tree)
    _together(tree, reading.values, reading.places, problems)
    if problems:
        raise ConfigurationError(problems)
    return Configuration(reading.values, tree, None if text is None else name)


def _variables(environment: Environment[str, str]) -> list[str]:
    """Variables that name a key; one for a whole section before those for what is in it."""
    sections = {PREFIX + section.upper() for section in Tree.__struct_fields__}
    # An empty variable counts as none, as elsewhere: compose files pass what is not set so.
    named = [
        name
        for name, value in environment.items()
        if name.startswith(PREFIX) and ("__" in name or name in sections) and value.strip()
    ]
    return sorted(named, key=lambda name: (name.count("__"), name))


def _bare(hint: Any) -> Any:
    """A type without Annotated and without UNSET."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        left = [one for one in get_args(hint) if one is not UnsetType]
        if len(left) == 1:
            return _bare(left[0])
        return Union[tuple(left)]  # noqa: UP007 (made of what is known when it runs)
    return hint


def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(struct, include_extras=True)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _lay(node: Node | None, hint: Any, words: list[str], text: str, variable: str) -> Node:
    """`node` with the variable's text at `words`, which the variable's name spells in capitals."""
    kind = _bare(hint)
    container = _is_struct(kind) or get_origin(kind) in (dict, list)
    if not words:
        if get_origin(kind) is list and not text.lstrip().startswith("["):
            parts = [part.strip() for part in text.split(",")]
            return Sequence([Scalar(part, True, variable) for part in parts if part], variable)
        if container:
            return parse(text, variable, whole=False)
        return Scalar(text, True, variable)
    word, rest = words[0], words[1:]
    if get_origin(kind) is list:
        items = list(node.items) if isinstance(node, Sequence) else []
        if not word.isascii() or not word.isdigit() or len(word) > 4 or int(word) > len(items):
            raise ConfigurationError(
                [f"{variable}: {word!r} should be the number of an item, at most {len(items)}"]
            )
        at = int(word)
        before = items[at] if at < len(items) else None
        inner = _lay(before, get_args(kind)[0], rest, text, variable)
        items[at : at + 1] = [inner]
        return Sequence(items, node.origin if isinstance(node, Sequence) else variable)
    if not container:
        raise ConfigurationError([f"{variable}: nothing is under the key before {word!r}"])
    made = node if isinstance(node, Mapping) else Mapping({}, variable)
    if _is_struct(kind):
        name = word.lower()
        inner_hint = _fields(kind).get(name, str)
    else:
        # A name's own letters are the file's: a variable's name has none for `gpt-3.5-turbo`.
        like = [one for one in made.entries if _spelled(one) == word.upper()]
        if len(like) > 1:
            raise ConfigurationError(
                [f"{variable}: may mean {' or '.join(map(repr, like))}; rename one of them"]
            )
        name = like[0] if like else word.lower()
        inner_hint = get_args(kind)[1]
    entries = dict(made.entries)
    known = name in _fields(kind) if _is_struct(kind) else True
    entries[name] = _lay(entries.get(name), inner_hint, rest if known else [], text, variable)
    return Mapping(entries, made.origin, {**made.places, name: made.places.get(name, variable)})


def _spelled(name: str) -> str:
    """A name as variables' names spell it: GPT_3_5_TURBO."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


class _Reading:
    """Builds plain values out of nodes; notes each one's origin, and all that is wrong."""

    def __init__(self, file: str, problems: list[str]) -> None:
        self.values: dict[tuple[str | int, ...], Value] = {}
        self.places: dict[tuple[str | int, ...], str] = {}
        self._file, self._problems = file, problems

    def build(self, node: Node, hint: Any, key: tuple[str | int, ...], owner: Any = None) -> Any:
        kind = _bare(hint)
        self.places[key] = node.origin
        if _is_struct(kind) or get_origin(kind) is dict:
            if isinstance(node, Scalar) and node.plain and node.text in ("", "~", "null"):
                node = Mapping({}, node.origin)  # `limits:` with nothing under it
            if not isinstance(node, Mapping):
                return self._wrong(node, key, "should have keys under it")
            if _is_struct(kind):
                return self._struct(node, kind, key)
            return self._dict(node, kind, key)
        if get_origin(kind) is list:
            if not isinstance(node, Sequence):
                return self._wrong(node, key, "should be a list")
            inner = get_args(kind)[0]
            made = [self.build(one, inner, (*key, at)) for at, one in enumerate(node.items)]
            return self._held(made, hint, node, key) if not _is_struct(_bare(inner)) else made
        if not isinstance(node, Scalar):
            return self._wrong(node, key, f"should be {_said(kind)}, with nothing under it")
        value = _typed(node, hint)
        if value is _NONE_FITS:
            return self._wrong(node, key, _complaint(node, hint))
        name = key[-1] if isinstance(key[-1], str) else ""
        self.values[key] = Value(
            value, node.origin, node.origin.startswith(f"{self._file}:"), (owner, name) in PATHS
        )
        return value

    def _struct(self, node: Mapping, kind: Any, key: tuple[str | int, ...]) -> dict[str, Any]:
        fields, made = _fields(kind), {}
        for name, inner in node.entries.items():
            place = node.places.get(name, inner.origin)
            said = dotted((*key, name))
            if name in fields:
                made[name] = self.build(inner, fields[name], (*key, name), kind)
            elif name in NOT_YET.get(kind, {}):
                not_yet = "" if name == "value" else "not yet. "
                self._problems.append(f"{place}: {said}: {not_yet}{NOT_YET[kind][name]}")
            else:
                near = nearest(name[:_SHOWN], [*fields, *NOT_YET.get(kind, {})])
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                if not near:
                    hint = f"; there are {', '.join(fields)}"
                self._problems.append(f"{place}: {said[:200]}: unknown key{hint}")
        return made

    def _dict(self, node: Mapping, kind: Any, key: tuple[str | int, ...]) -> dict[str, Any]:
        name_hint, inner_hint = get_args(kind)
        made = {}
        for name, inner in node.entries.items():
            try:
                msgspec.convert(name, name_hint)
            except msgspec.ValidationError:
                place = node.places.get(name, inner.origin)
                self._problems.append(
                    f"{place}: {dotted(key)}: a name has 1 to 256 characters, none of them a "
                    f"control character; not {name[:_SHOWN]!r}"
                )
                continue
            made[name] = self.build(inner, inner_hint, (*key, name))
        return made

    def _held(self, made: list[Any], hint: Any, node: Node, key: tuple[str | int, ...]) -> Any:
        if not made:  # an empty list is a value too: it has no item that would be noted
            from_file = node.origin.startswith(f"{self._file}:")
            self.values[key] = Value([], node.origin, from_file, False)
        return made

    def _wrong(self, node: Node, key: tuple[str | int, ...], problem: str) -> None:
        self._problems.append(f"{node.origin}: {dotted(key) or 'the file'}: {problem}")


_NONE_FITS = object()


def _typed(node: Scalar, hint: Any) -> Any:
    """The scalar as the key's type has it; _NONE_FITS where it has no such meaning."""
    meanings: list[Any] = []
    if node.plain:
        if node.text in ("true", "false"):
            meanings.append(node.text == "true")
        if _INT.fullmatch(node.text) and len(node.text) <= 18:
            meanings.append(int(node.text))
        if _FLOAT.fullmatch(node.text) and not re.match(r"[-+]?0[0-9]", node.text):
            number = float(node.text)
            if math.isfinite(number):  # 1e999 is not
                meanings.append(number)
    if not (node.plain and node.text in ("", "~", "null")):
        meanings.append(node.text)
    for meaning in meanings:
        try:
            return msgspec.convert(meaning, hint)
        except msgspec.ValidationError:
            continue
    return _NONE_FITS


def _said(kind: Any) -> str:
    """A type in words."""
    kind = _bare(kind)
    if get_origin(kind) is Literal:
        return " or ".join(str(one) for one in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(_said(one) for one in get_args(kind)))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return words.get(kind, str(kind))


def _limits(hint: Any) -> list[str]:
    """The bounds that a type's Meta sets, in words."""
    said: list[str] = []
    if get_origin(hint) is Annotated:
        for meta in get_args(hint)[1:]:
            if isinstance(meta, msgspec.Meta):
                if meta.ge is not None:
                    said.append(f"from {meta.ge:g}")
                if meta.gt is not None:
                    said.append(f"above {meta.gt:g}")
                if meta.le is not None:
                    said.append(f"to {meta.le:g}")
    elif get_origin(hint) in (Union, UnionType):
        for one in get_args(hint):
            said += _limits(one)
    return said


def _complaint(node: Scalar, hint: Any) -> str:
    if node.plain and node.text in ("", "~", "null"):
        return f"has no value; give it {_said(hint)}, or leave the key out"
    wanted = " ".join([_said(hint), *_limits(hint)])
    shown = node.text if len(node.text) <= _SHOWN else node.text[:_SHOWN] + "…"
    said = f"should be {wanted}, not {shown!r}"
    if not node.plain and _typed(Scalar(node.text, True, ""), hint) is not _NONE_FITS:
        return said + "; take the quotes off"
    options = [one for one in _literals(hint) if isinstance(one, str)]
    near = nearest(node.text[:_SHOWN], options, 1)
    return said + (f"; did you mean {near[0]}?" if near else "")


def _literals(hint: Any) -> list[Any]:
    kind = _bare(hint)
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return [value for one in get_args(kind) for value in _literals(one)]
    return []


def _together(
    tree: Tree,
    values: dict[tuple[str | int, ...], Value],
    places: dict[tuple[str | int, ...], str],
    problems: list[str],
) -> None:
    """What only several keys together can have wrong."""
    models: dict[str, Model] = tree.models if isinstance(tree.models, dict) else {}
    for name, model_config in models.items():
        if len(models) > 1 and not isinstance(model_config.memory_fraction, UnsetType):
            problems.append(
                f"{places['models', name, 'memory_fraction']}: models.{name}.memory_fraction: the "
                "memory is that of all models; give --memory-fraction on the command line"
            )
    if isinstance(tree.listeners, list) and len(tree.listeners) > 1:
        problems.append(f"{places['listeners', 1]}: listeners[1]: not yet: a server has one port")
    aliases = tree.aliases if isinstance(tree.aliases, dict) else {}
    for alias, model in aliases.items():
        key = ("aliases", alias)
        if alias in models:
            problems.append(f"{places[key]}: {dotted(key)}: is the name of a model already")
        elif model not in models:
            known = nearest(model, models) or list(models)
            hint = f"; there is {' and '.join(known)}" if known else "; models has none"
            problems.append(f"{places[key]}: {dotted(key)}: no model is named {model!r}{hint}")
    for at, one in enumerate(tree.keys if isinstance(tree.keys, list) else []):
        if isinstance(one.env, str) == isinstance(one.file, str):
            problems.append(f"{places['keys', at]}: keys[{at}]: should have either env or file")
    for name, model_config in models.items():
        if model_config.load_in_8bit is True and model_config.load_in_4bit is True:
            both = ("models", name, "load_in_4bit")
            problems.append(f"{places[both]}: {dotted(both)}: load_in_8bit excludes it")
    if isinstance(tree.store, msgspec.Struct) and isinstance(tree.store.database, str):
        _no_password(tree.store.database, values["store", "database"], problems)


def _no_password(url: str, value: Value, problems: list[str]) -> None:
    if value.from_file and re.match(r"[a-z0-9+]+://[^/@]*:[^/@]+@", url, re.IGNORECASE):
        problems.append(
            f"{value.origin}: store.database: has a password, which does not belong in this file: "
            "give the URL by BERTH_DATABASE"
        )
