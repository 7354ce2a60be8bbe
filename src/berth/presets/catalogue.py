"""The catalogue: one folder per family under presets/, each with a preset.yaml.

    family: pocket
    title: Pocket
    presets:
      - name: pocket
        title: Pocket, the built-in model
        …

docs/presets.md describes each key, and presets/schema.json is the schema.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from berth.checkpoint.errors import ConfigError
from berth.checkpoint.fields import Fields
from berth.checkpoint.numbers import ModelNumbers, from_config_json
from berth.near import nearest

# Both are safe loaders; libyaml's is ten times as fast, if PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Engine = Literal["native", "transformers", "llamacpp", "none"]
Template = Literal[
    "llama-2",
    "vicuna",
    "alpaca",
    "zephyr",
    "mistral",
    "chatml",
    "llama-3",
    "gemma",
    "phi",
    "falcon-instruct",
    "orca-mini",
    "plain",
    "jinja",
]
ToolFormat = Literal["hermes", "llama-3", "mistral", "phi-4", "harmony", "qwen3-coder", "deepseek"]
ReasoningFormat = Literal["think", "think-open", "harmony"]
Pooling = Literal["mean", "cls", "last"]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class PresetError(Exception):
    """No such preset, or a preset.yaml that cannot be used; the message is a sentence."""


class Kaito(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What KAITO's webhook asks of a node, and how its controller starts the preset."""

    gpus: Positive  # over all nodes
    gpu_memory_gb: Annotated[int, msgspec.Meta(ge=0)]  # of one GPU
    total_memory_gb: Positive
    pod_gpus: Positive
    gpu_memory_requirement: str  # as a quantity; informational
    disk: str  # as a quantity
    readiness_minutes: Positive
    workload: Literal["StatefulSet", "Deployment"]


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the catalogue."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
    family: str  # its file's
    title: str
    licence: str  # the hub's short name for it, or SPDX's
    context: Positive  # tokens
    engine: Engine  # by default
    device: Literal["cpu"] | None = None  # cpu: so small that a GPU is taken only if asked for
    reason: str | None = None  # why no engine of ours runs it; with engine none only
    template: Template  # if the weights bring no chat template of their own
    parameters: Positive | None = None  # as its makers state; None with `unknown`
    config: dict[str, Any] | None = None  # keys of config.json, as far as sizes follow from them
    unknown: str | None = None  # why there is no config
    hub: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    revision: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$")] | None = None
    source: str | None = None  # where weights come from that no hub has, in words
    gated: bool | Literal["unknown"] = False  # the hub wants a licence accepted first
    weight_files_gib: float | None = None  # of the published files, if it was measured
    weights: Path | None = None  # the folder, if the catalogue has them itself
    tools: ToolFormat | None = None  # how it writes tool calls
    reasoning: ReasoningFormat | None = None  # how it marks what it thinks
    pooling: Pooling | None = None  # of an embedding model
    prefixes: dict[Literal["query", "passage"], str] | None = None  # that it was trained with
    kaito: Kaito | None = None

    @property
    def architecture(self) -> str:
        """The class that config.json names; "unknown" if there is no config."""
        names = Fields(self.config or {}).names("architectures")
        return names[0] if names else "unknown"

    @property
    def numbers(self) -> ModelNumbers | None:
        """What its size follows from; None if `unknown` says why not."""
        return None if self.config is None else from_config_json(self.config)


class FamilyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One preset.yaml."""

    family: str
    title: str
    presets: list[Preset]


def presets_folder() -> Path:
    """Where the catalogue is: BERTH_PRESETS, else the checkout that this package runs from.

    Raises:
        PresetError: there is none.
    """
    named = os.environ.get("BERTH_PRESETS")
    folder = Path(named) if named else Path(__file__).parents[3] / "presets"
    if not folder.is_dir():
        raise PresetError(
            f"there is no catalogue of presets at {folder}; set BERTH_PRESETS to its folder"
        )
    return folder


def load_presets(folder: Path | None = None) -> dict[str, Preset]:
    """Every preset by its name, families in alphabetical order.

    Raises:
        PresetError: a file is malformed, or two presets share a name; names the file, the
            preset and the key.
    """
    presets: dict[str, Preset] = {}
    for file in sorted((folder or presets_folder()).glob("*/preset.yaml")):
        for preset in read_family(file).presets:
            if preset.name in presets:
                raise PresetError(f"{file}: there is a preset {preset.name!r} already")
            presets[preset.name] = preset
    return presets


def no_such_place(name: str) -> PresetError:
    """For a path that is not there, and that names nothing on a hub."""
    return PresetError(
        f"there is no folder {name}, and it is no HUB_ID[:FILE] (as Qwen/Qwen3-8B is) either"
    )


def find_preset(name: str, folder: Path | None = None) -> Preset:
    """The preset of this name. Raises PresetError, which names the nearest ones."""
    presets = load_presets(folder)
    if name in presets:
        return presets[name]
    if "/" in name:  # no preset is near to a path
        raise no_such_place(name)
    near = nearest(name, presets)
    hint = f"did you mean {', '.join(near)}?" if near else "berth presets lists them all"
    raise PresetError(f"there is no preset {name!r}; {hint}")


def preset_of_hub(hub_id: str, folder: Path | None = None) -> Preset | None:
    """The preset whose weights this hub repository holds; None if there is none."""
    wanted = hub_id.lower()  # the hub does not tell letter case apart either
    return next(
        (p for p in load_presets(folder).values() if p.hub and p.hub.lower() == wanted), None
    )


def read_family(file: Path) -> FamilyFile:
    """One preset.yaml. Raises PresetError, which names file, preset and key."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise PresetError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict) or set(content) != {"family", "title", "presets"}:
        raise PresetError(f"{file} should have the keys family, title and presets, and no others")
    if not isinstance(content["presets"], list):
        raise PresetError(f"{file}: presets should be a list")
    if content["family"] != file.parent.name:
        raise PresetError(f"{file}: family should be {file.parent.name!r}, as its folder is called")
    return FamilyFile(
        family=content["family"],
        title=str(content["title"]),
        presets=[_preset(file, content["family"], entry) for entry in content["presets"]],
    )


def _preset(file: Path, family: str, entry: Any) -> Preset:
    if not isinstance(entry, Mapping):
        raise PresetError(f"{file}: a preset should be a mapping")
    where = f"{file}: preset {entry.get('name', '?')}"
    if "family" in entry:
        raise PresetError(f"{where}: family is the file's, not a preset's")

    def to_path(kind: type, value: Any) -> Any:
        if kind is Path and isinstance(value, str):
            return file.parent / value
        raise NotImplementedError(f"{kind} is no type of the catalogue")

    try:
        preset = msgspec.convert({**entry, "family": family}, Preset, dec_hook=to_path)
    except msgspec.ValidationError as error:
        raise PresetError(f"{where}: {_sentence(str(error))}") from None
    if complaint := _contradiction(preset):
        raise PresetError(f"{where}: {complaint}")
    return preset


def _sentence(message: str) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.context`" with the key in front."""
    match = re.fullmatch(r"(.*) - at `\$\.?(.*)`", message)
    return f"{match[2]}: {match[1]}" if match and match[2] else message.removesuffix(" - at `$`")


def _contradiction(preset: Preset) -> str | None:
    """What is wrong with the entry as a whole; None if it is consistent."""
    if (preset.engine == "none") != (preset.reason is not None):
        return "reason belongs to engine none, and to no other"
    if (preset.config is None) != (preset.unknown is not None):
        return "it should have either config, or unknown with the reason why there is none"
    if (preset.config is None) != (preset.parameters is None):
        return "parameters belongs to config: they are held against each other"
    if preset.hub is None and preset.source is None and preset.weights is None:
        return "it should say where its weights are: hub, weights, or source in words"
    if preset.revision is not None and preset.hub is None:
        return "revision is one of hub's, which is missing"
    try:
        numbers = preset.numbers
    except ConfigError as error:
        return f"config: {error}"
    if numbers is not None and numbers.generates != (preset.pooling is None):
        return "pooling belongs to embedding models, which have no output head"
    if numbers is not None and numbers.context not in (None, preset.context):
        return f"context is {preset.context}, but its config says {numbers.context}"
    return None


def schema() -> dict[str, Any]:
    """The JSON schema of a preset.yaml."""

    def path_schema(kind: type) -> dict[str, str]:
        if kind is Path:
            return {"type": "string"}
        raise NotImplementedError(f"{kind} is no type of the catalogue")

    made = msgspec.json.schema(FamilyFile, schema_hook=path_schema)
    entry = made["$defs"]["Preset"]  # `family` stands once a file, above its presets
    del entry["properties"]["family"]
    entry["required"].remove("family")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
