"""From the name that a person gives a model to its folder, downloaded on first use."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from berth.presets.catalogue import (
    Preset,
    find_preset,
    no_such_place,
    preset_of_hub,
)
from berth.presets.hub import pull
from berth.presets.hub_cache import HubSettings, has_tokenizer, local_commit, local_copy, unsure_of
from berth.presets.source import PullError, Source, parse_source

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that is on this machine."""

    path: Path  # its folder, or its GGUF file
    name: str  # what clients may call it
    preset: Preset | None = None  # the catalogue's entry, if there is one
    source: Source | None = None  # where it came from, if that is a hub

    @property
    def template(self) -> str | None:
        """Chat template for weights that bring none; None: nothing is known about them."""
        return None if self.preset is None else self.preset.template


def resolve_model(name: str, settings: HubSettings | None = None) -> ResolvedModel:
    """Find a model: a folder or GGUF file, a preset, or HUB_ID[:FILE][@REVISION].

    What is complete on this machine is used as it is, without asking the network; what is not is
    pulled. A copy whose weights are whole but that another program left without tokeniser, chat
    template or generation_config.json is completed from its own commit.

    Raises:
        PresetError: no such folder and no such preset.
        PullError: it is not here and cannot be had.
    """
    path = Path(name)
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return ResolvedModel(path, path.resolve().stem if path.is_file() else path.resolve().name)
    preset, source = locate(name)
    if preset is not None and preset.weights is not None:
        return ResolvedModel(preset.weights, preset.name, preset)
    if source is None:
        assert preset is not None
        raise PullError(f"no hub has the weights of {preset.name}: {preset.source}")
    called = preset.name if preset is not None else source.hub.rpartition("/")[2]
    settings = settings or HubSettings()
    here = local_copy(source, settings)
    if here is None:
        here = pull(source, settings).path
    elif lacking := unsure_of(source, settings):
        here = _completed(source, settings, here, lacking)
    return ResolvedModel(here, called, preset, source)


def _completed(source: Source, settings: HubSettings, here: Path, lacking: tuple[str, ...]) -> Path:
    """The copy with what the repository has of what is `lacking`, of the same commit.

    Raises:
        PullError: the hub cannot be asked, and the model cannot be served without.
    """
    commit = local_commit(source, settings)
    try:
        return pull(replace(source, revision=commit), settings, missing_only=True).path
    except PullError as error:
        said = f"the copy of {source} on this machine ({here}) has no {' and no '.join(lacking)}"
        if here.is_dir() and not has_tokenizer(here):
            raise PullError(f"{said}, and the hub could not be asked for it: {error}") from error
        _LOG.warning("%s; it is served without, since the hub could not be asked: %s", said, error)
        return here


def locate(name: str) -> tuple[Preset | None, Source | None]:
    """The preset that `name` is or leads to, and the repository of its weights.

    Raises:
        PresetError: it is neither a preset nor HUB_ID[:FILE][@REVISION].
    """
    if "/" not in name:
        named = find_preset(name)
        return named, Source(named.hub, revision=named.revision) if named.hub else None
    source = parse_source(name)
    if source is None:
        raise no_such_place(name)
    preset = preset_of_hub(source.hub) if source.file is None else None
    if preset is not None and preset.revision and source.revision is None:
        source = Source(source.hub, revision=preset.revision)
    return preset, source
