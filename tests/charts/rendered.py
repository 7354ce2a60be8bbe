"""Charts as Helm 4 renders them, read back as Kubernetes objects."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import helm_python
import yaml

CHARTS = Path(__file__).parents[2] / "charts"
ROOT = CHARTS.parent
Object = dict[str, Any]


class Rendered:
    """The objects of one rendering, and its notes."""

    def __init__(self, files: dict[str, str]) -> None:
        self.notes = next((text for file, text in files.items() if file.endswith("NOTES.txt")), "")
        self.objects: list[Object] = []
        self.by_template: dict[str, list[Object]] = {}
        for file, text in files.items():
            if file.endswith("NOTES.txt"):
                continue
            # The one in C: the CRD alone takes the other a fifth of a second.
            documents = yaml.load_all(text, Loader=yaml.CSafeLoader)
            found = [item for item in documents if item is not None]
            self.objects += found
            self.by_template[file.partition("/templates/")[2]] = found

    def all(self, kind: str) -> list[Object]:
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only one of its kind (and name)."""
        found = [i for i in self.all(kind) if name is None or i["metadata"]["name"] == name]
        assert len(found) == 1, [i["metadata"]["name"] for i in self.all(kind)]
        return found[0]

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every pod template, with the kind and name of what makes it."""
        for item in self.objects:
            template = item.get("spec", {}).get("template")
            if template is not None:
                yield f"{item['kind']} {item['metadata']['name']}", template


@functools.cache
def _chart(name: str) -> helm_python.Chart:
    return helm_python.Chart.load(CHARTS / name)


def render(
    chart: str, values: Object | None = None, *, name: str = "pocket", namespace: str = "ai"
) -> Rendered:
    """Raises HelmValuesError (by the schema) or HelmRenderError (by the templates)."""
    return Rendered(_chart(chart).render(values or {}, name=name, namespace=namespace))


def container(template: Object, name: str | None = None) -> Object:
    """A pod template's only container."""
    (found,) = template["spec"]["containers"]
    assert name is None or found["name"] == name
    return dict(found)


def nested(path: str, value: Any) -> Object:
    """Values with one of them set: `a.b` becomes {a: {b: value}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


@functools.cache
def generator() -> ModuleType:
    """charts/schema.py, which lies outside of every package."""
    spec = importlib.util.spec_from_file_location("charts_schema", CHARTS / "schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
