"""From an API object, as odd as it may be, to a Workspace; and from its preset's name to a preset.

What is stored need not be what the schema of today allows: it may have been written under an
older one, or by KAITO. Nothing here fails on it but with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from berth.presets.catalogue import Preset
from berth.workspace.types import Status, TemplateShape, Workspace

# KAITO's names of models that the catalogue has under their makers' names.
_KAITO_NAMES = {
    "gemma-3-4b-instruct": "gemma-3-4b-it",
    "gemma-3-27b-instruct": "gemma-3-27b-it",
}
_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_Parsed = TypeVar("_Parsed")


class WorkspaceError(ValueError):
    """An object that is no Workspace. The message is a sentence that begins with the field."""

    def __init__(self, field: str, wrong: str) -> None:
        super().__init__(f"{field} {wrong}" if field else f"the Workspace {wrong}")
        self.field = field


def parse_workspace(workspace: object) -> Workspace:
    """The typed Workspace of an API object. Total: any object gives one or a WorkspaceError.

    Only shapes are looked at; what the rules say of them is `berth.workspace.validate`.
    """
    _refuse_unquoted_labels(workspace)
    parsed = _convert(workspace, Workspace, "")
    if parsed.inference is not None and parsed.inference.template is not None:
        _convert(parsed.inference.template, TemplateShape, "inference.template")
    return parsed


def parse_status(workspace: Mapping[str, Any]) -> Status:
    """The typed status of an API object; an empty one if there is none. As total."""
    return _convert(workspace.get("status") or {}, Status, "status")


def find_preset(name: str, presets: Mapping[str, Preset]) -> Preset | None:
    """The preset that inference.preset.name names; None if the catalogue has none.

    In any letter case: a preset's name, KAITO's name for it, or the id of its hub repository.
    """
    key = name.lower()
    key = _KAITO_NAMES.get(key, key)
    if key in presets:
        return presets[key]
    return next((p for p in presets.values() if p.hub and p.hub.lower() == key), None)


def _refuse_unquoted_labels(workspace: object) -> None:
    """Name the label whose value YAML read as a truth or a number, and the cure.

    The conversion could only say that some value of the map is no text.
    """
    at = "resource.labelSelector.matchLabels"
    found: object = workspace
    for key in at.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    for key, value in found.items() if isinstance(found, Mapping) else ():
        if isinstance(value, bool | int | float):
            written = str(value).lower() if isinstance(value, bool) else str(value)
            raise WorkspaceError(
                f"{at}[{key}]",
                f'should be a text, and YAML reads {written} as something else: write "{written}" '
                "in quotes",
            )


def _convert(value: object, kind: type[_Parsed], at: str) -> _Parsed:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _error(str(error), at) from None
    except RecursionError:
        raise WorkspaceError(at, "is nested too deeply") from None


def _error(message: str, at: str) -> WorkspaceError:
    """msgspec's "Expected `int`, got `str` - at `$.resource.count`" as a sentence."""
    text, _, path = message.partition(" - at ")
    key_of = path.startswith("`key` in ")  # of a mapping: not its value, but its key is wrong
    path = path.removeprefix("`key` in ").strip("`").removeprefix("$").removeprefix(".")
    field = ".".join(part for part in (at, path) if part).replace(".[", "[")
    if key_of:
        return WorkspaceError(field, "should have keys that are strings, none of them too long")
    if missing := re.fullmatch(r"Object missing required field `(.*)`", text):
        return WorkspaceError(".".join(p for p in (field, missing[1]) if p), "is required")
    if wrong := re.fullmatch(r"Expected `(.*)`, got `(.*)`", text):
        wanted = " or ".join(_words(kind) for kind in wrong[1].split(" | ") if kind != "null")
        return WorkspaceError(field, f"should be {wanted}, and is {_words(wrong[2])}")
    if bound := re.fullmatch(r"Expected `(\w+)` (of length )?([<>]=) (\d+)", text):
        if bound[2] and bound[3] == ">=" and bound[4] == "1":
            return WorkspaceError(field, "should not be empty")
        least = "at least" if bound[3] == ">=" else "at most"
        what = "" if not bound[2] else "characters long" if bound[1] == "str" else "entries long"
        return WorkspaceError(field, f"should be {least} {bound[4]} {what}".rstrip())
    if enum := re.fullmatch(r"Invalid enum value '?(.*?)'?", text):
        return WorkspaceError(field, f"cannot be {enum[1]!r}")
    return WorkspaceError(field, f"is not as it should be: {text}")


def _words(kind: str) -> str:
    return _TYPES.get(kind, kind)
