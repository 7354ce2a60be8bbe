"""What the API server would say of a Workspace, without one.

`refusals` gives the sentences of the CRD's rules, `complaints` everything that is wrong with a
file: unknown fields and wrong shapes too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from msgspec import inspect

from berth.workspace.cel import RULES, Rule
from berth.workspace.parse import WorkspaceError, parse_workspace
from berth.workspace.types import GROUP, KIND, VERSIONS, Workspace

# Not read here, and not the user's to write.
_ROOT = {"apiVersion", "kind", "metadata", "status"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One rule that a Workspace breaks."""

    field: str  # "inference.preset.name"; "" if it is the Workspace as a whole
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def refusals(workspace: Workspace, old: Workspace | None = None) -> tuple[Refusal, ...]:
    """The rules that it breaks, by itself and as a change of `old`, in the order of the schema."""
    return tuple(Refusal(rule.path, rule.message) for rule in _broken(workspace, old))


def complaints(manifest: object, old: Workspace | None = None) -> tuple[str, ...]:
    """Everything that is wrong with a manifest, as sentences that begin with the field.

    As the API server does, null is taken for absent, and the rules are only asked of a Workspace
    whose shape is right. Unknown fields are refused, as kubectl asks of the server.
    """
    if not isinstance(manifest, Mapping):
        return ("a manifest should be a mapping with apiVersion, kind and metadata",)
    found = [*_identity(manifest)]
    try:
        present = without_nulls(manifest)
        found += _unknown(present, _shape(), "")
    except RecursionError:
        return ("the manifest is nested too deeply",)
    try:
        workspace = parse_workspace(present)
    except WorkspaceError as error:
        return (*found, str(error))
    return (*found, *(str(refusal) for refusal in refusals(workspace, old)))


def without_nulls(value: Any) -> Any:
    """The same without the keys that are null: to the API server they are absent."""
    if isinstance(value, Mapping):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return value


def _broken(workspace: Workspace, old: Workspace | None) -> Iterator[Rule]:
    for rule in RULES:
        if not _there(workspace, rule.at):
            continue
        if rule.holds is not None and not rule.holds(workspace):
            yield rule
        if (
            rule.keeps is not None
            and old is not None
            and _there(old, rule.at)
            and not rule.keeps(workspace, old)
        ):
            yield rule


def _there(workspace: Workspace, at: str) -> bool:
    node: Any = workspace
    for name in at.split(".") if at else ():
        node = getattr(node, re.sub("([A-Z])", r"_\1", name).lower())
        if node is None:
            return False
    return True


def _identity(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What stands before the Workspace's own fields."""
    version, kind = manifest.get("apiVersion"), manifest.get("kind")
    known = [f"{GROUP}/{name}" for name in VERSIONS]
    if version not in known:
        yield f"apiVersion should be {' or '.join(known)}, and is {version!r}"
    if kind != KIND:
        yield f"kind should be {KIND}, and is {kind!r}"
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping) or not (
        metadata.get("name") or metadata.get("generateName")
    ):
        yield "metadata.name is required"


@cache
def _shape() -> inspect.Type:
    return inspect.type_info(Workspace)


def _unknown(value: Any, kind: inspect.Type, at: str) -> Iterator[str]:
    """Fields that the type does not have, with the nearest one that it has."""
    kind = _plain(kind)
    if isinstance(kind, inspect.ListType) and isinstance(value, list):
        for index, part in enumerate(value):
            yield from _unknown(part, kind.item_type, f"{at}[{index}]")
    if not isinstance(kind, inspect.StructType) or not isinstance(value, Mapping):
        return
    fields = {field.encode_name: field.type for field in kind.fields}
    for key, part in value.items():
        if not at and key in _ROOT:
            continue
        path = f"{at}.{key}" if at else str(key)
        if key in fields:
            yield from _unknown(part, fields[key], path)
        else:
            near = difflib.get_close_matches(str(key), fields, n=1)
            yield f"{path} is not a field" + (f"; did you mean {near[0]}?" if near else "")


def _plain(kind: inspect.Type) -> inspect.Type:
    """Without its annotations, and without null."""
    if isinstance(kind, inspect.Metadata):
        return _plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        return _plain(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
    return kind
