"""The files that berth plan is given: YAML or JSON, with any number of documents."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from berth.workspace.types import GROUP, KIND
from berth.workspace.validate import complaints

_NAMESPACE = "default"
# Kinds of KAITO's that Berth has no counterpart of, and what to do instead.
OTHER_KINDS = {
    "InferenceSet": "a Workspace with resource.count serves a model on several nodes",
    "MultiRoleInference": "a Workspace serves prefill and decode together",
    "ModelMirror": "an image that holds the weights takes its place",
    "RAGEngine": "Berth serves models, and does no retrieval",
}


class FileError(ValueError):
    """A file that cannot be used. One sentence a line, each with file and document."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file."""

    where: str  # "falcon.yaml, document 2"
    object: Mapping[str, Any]

    @property
    def name(self) -> str:
        metadata = self.object["metadata"]
        return str(metadata.get("name") or f"{metadata.get('generateName')}00000")

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"].get("namespace") or _NAMESPACE)


@dataclass(frozen=True, slots=True)
class Manifests:
    """All objects of all files, by what they are to berth plan."""

    workspaces: Sequence[Manifest]
    config_maps: Mapping[tuple[str, str], Mapping[str, Any]]  # by namespace and name
    others: Sequence[str]  # "Secret hf-token", which nothing is asked of


def read_files(paths: Sequence[str]) -> Manifests:
    """Every document of every file, checked. "-" is standard input.

    Raises:
        FileError: a file cannot be read, or a Workspace in it is wrong; says everything that is.
    """
    workspaces: list[Manifest] = []
    config_maps: dict[tuple[str, str], Mapping[str, Any]] = {}
    others: list[str] = []
    wrong: list[str] = []
    for path in paths:
        for where, found in _documents(path):
            if not isinstance(found, Mapping):
                wrong.append(f"{where}: a manifest should be a mapping")
                continue
            group, kind = _group(found), str(found.get("kind"))
            if group == GROUP and kind in OTHER_KINDS:
                wrong.append(f"{where}: kind {kind} is not one that Berth has: {OTHER_KINDS[kind]}")
            elif group == GROUP or kind == KIND or "kind" not in found or "apiVersion" not in found:
                faults = complaints(found)
                wrong += [f"{where}: {fault}" for fault in faults]
                workspaces += [] if faults else [Manifest(where, found)]
            else:
                others.append(f"{kind} {_metadata(found).get('name')}")
                if kind == "ConfigMap" and not group:
                    config_maps[_key(found)] = found
    if wrong:
        raise FileError("\n".join(wrong))
    if not workspaces:
        raise FileError(f"there is no Workspace in {', '.join(paths)}")
    return Manifests(workspaces, config_maps, others)


def read_nodes_file(path: Path) -> list[Mapping[str, Any]]:
    """What `kubectl get nodes -o json` (or yaml) has printed. Raises FileError."""
    found = [node for _, node in _documents(str(path))]
    if not all(isinstance(node, Mapping) and node.get("kind") == "Node" for node in found):
        raise FileError(f"{path} should be what `kubectl get nodes -o json` prints")
    return found


def _documents(path: str) -> Iterator[tuple[str, Any]]:
    """Each document with where it is; a List's items one by one."""
    name = "standard input" if path == "-" else path
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
        found = [d for d in yaml.load_all(text, Loader=_Strict) if d is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{name} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FileError(f"{name} is no YAML: {_first_line(error)}") from error
    for number, document in enumerate(found, 1):
        where = f"{name}, document {number}" if len(found) > 1 else name
        items = document.get("items") if isinstance(document, Mapping) else None
        if isinstance(items, list) and str(document.get("kind", "")).endswith("List"):
            yield from ((f"{where}, item {i}", item) for i, item in enumerate(items, 1))
        else:
            yield where, document


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}: " if mark is not None else ""
    return line + str(getattr(error, "problem", None) or error).splitlines()[0]


def _group(found: Mapping[str, Any]) -> str:
    group, slash, _ = str(found.get("apiVersion", "")).rpartition("/")
    return group if slash else ""


def _metadata(found: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _key(found: Mapping[str, Any]) -> tuple[str, str]:
    metadata = _metadata(found)
    return str(metadata.get("namespace") or _NAMESPACE), str(metadata.get("name"))


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, as kubectl does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)
