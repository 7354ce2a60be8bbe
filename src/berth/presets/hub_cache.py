"""What of a repository is in huggingface_hub's cache, and whether it is whole. Asks no network.

Layout, as huggingface_hub has it: refs/BRANCH holds a commit, snapshots/COMMIT/ its files, and
.no_exist/COMMIT/ an empty file for each one that the repository was asked for and has not.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from berth.checkpoint.index import INDEX, SINGLE
from berth.presets.hub_files import TOKENIZERS, folder_of, names_in, needed_in
from berth.presets.source import HubFile, PullError, Source
from berth.presets.weight_choice import SHARD

_TEMPLATES = ("chat_template.jinja", "chat_template.json")
# What other programs may have left out of their copy, and an answer depends on.
_WANTED = ("tokenizer_config.json", "generation_config.json", *_TEMPLATES)
_MAIN = (SINGLE, INDEX)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """Which hub to ask, and where to keep what it gives."""

    endpoint: str | None = None  # URL of a mirror; None: HF_ENDPOINT, else the public hub
    cache: Path | None = None  # None: huggingface_hub's (HF_HOME, HF_HUB_CACHE)
    offline: bool | None = None  # None: as HF_HUB_OFFLINE says
    token: str | None = None  # None: HF_TOKEN, else the one that `hf auth login` kept
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    pause: float = 1.0  # seconds before a failed file is tried again

    @property
    def cache_folder(self) -> Path:
        return self.cache or Path(constants.HF_HUB_CACHE)

    @property
    def url(self) -> str:
        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def is_offline(self) -> bool:
        return constants.HF_HUB_OFFLINE if self.offline is None else self.offline

    def repository(self, hub: str) -> Path:
        """Where the cache keeps a repository."""
        return self.cache_folder / repo_folder_name(repo_id=hub, repo_type="model")

    def snapshot(self, hub: str, commit: str) -> Path:
        """Where the cache keeps the files of one commit."""
        return self.repository(hub) / "snapshots" / commit


def note_revision(repository: Path, revision: str, commit: str) -> None:
    """Write down what a branch stands for, as huggingface_hub's cache has it, for offline use."""
    if revision == commit:
        return
    ref = repository / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    partial = ref.with_name(f"{ref.name}.{os.getpid()}.part")
    partial.write_text(commit)
    partial.replace(ref)


def note_absent(settings: HubSettings, source: Source, commit: str, listed: Sequence[str]) -> None:
    """Write down which of the files that `unsure_of` looks for the repository has not."""
    folder = folder_of(listed, source.file)
    mark = settings.repository(source.hub) / ".no_exist" / commit
    for name in (*_MAIN, *_WANTED, *(name for names in TOKENIZERS for name in names)):
        if folder + name not in listed:
            (mark / folder).mkdir(parents=True, exist_ok=True)
            (mark / folder / name).touch()


def local_copy(source: Source, settings: HubSettings | None = None) -> Path | None:
    """Where the weights and configuration of `source` are complete on this machine; None if
    they are not. Asks no network."""
    settings = settings or HubSettings()
    folder = settings.snapshot(source.hub, local_commit(source, settings))
    if not folder.is_dir():
        return None
    try:
        needed = needed_in(folder, source)
    except PullError:
        return None
    if not _complete(needed):
        return None
    return model_path(folder, source, needed)


def local_commit(source: Source, settings: HubSettings) -> str:
    """The commit that the cache has for the revision; the revision itself if it has none."""
    revision = source.revision or "main"
    ref = settings.repository(source.hub) / "refs" / revision
    return ref.read_text().strip() if ref.is_file() else revision


def unsure_of(source: Source, settings: HubSettings) -> tuple[str, ...]:
    """What is not beside complete weights here, and the repository may have.

    Another program leaves out what it does not use, and a person may have pulled one GGUF file or
    variant of several. Tokenisers, and weights of the usual name, count as one thing each.
    """
    commit = local_commit(source, settings)
    folder = settings.snapshot(source.hub, commit)
    names = names_in(folder)
    inside = folder_of(names, source.file)
    absent = names_in(settings.repository(source.hub) / ".no_exist" / commit)

    def unsure(name: str) -> bool:
        return inside + name not in names and inside + name not in absent

    needed = needed_in(folder, source)
    main = source.file is None and source.variant is None and any(unsure(n) for n in _MAIN)
    found = ["main weights"] if main and not _is_main(needed) else []
    if needed[0].path.endswith(".gguf"):  # it has everything in it
        return tuple(found)
    found += [name for name in _WANTED[:2] if unsure(name)]
    if not _has_template(folder / inside) and all(inside + n not in names for n in _TEMPLATES):
        found += [name for name in _TEMPLATES[:1] if unsure(name)]
    if not has_tokenizer(folder / inside):
        known = all(not unsure(name) for line in TOKENIZERS for name in line)
        found += [] if known else ["tokeniser"]
    return tuple(found)


def has_tokenizer(folder: Path) -> bool:
    """Whether the files of a tokeniser are there."""
    return any(all((folder / name).is_file() for name in line) for line in TOKENIZERS)


def _has_template(folder: Path) -> bool:
    """Whether the template stands where it stood before it had a file of its own."""
    try:
        said = json.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False  # its reader says what is wrong with it
    return isinstance(said, dict) and "chat_template" in said


def model_path(folder: Path, source: Source, files: Sequence[HubFile]) -> Path:
    """The folder that the files are in; the file itself if it is GGUF, or its first part."""
    if files[0].path.endswith(".gguf"):
        return folder / files[0].path
    return folder / folder_of([file.path for file in files], source.file)


def _is_main(files: Sequence[HubFile]) -> bool:
    """Whether the weights are what transformers looks for first."""
    return any(file.path in _MAIN or SHARD.fullmatch(file.path) for file in files)


def _complete(files: Sequence[HubFile]) -> bool:
    """Whether it has a description, and each of its numbered parts."""
    names = {file.path for file in files}
    described = {name.rpartition("/")[2] for name in names} & {"config.json", "params.json"}
    if not described and not files[0].path.endswith(".gguf"):
        return False
    # An index names what there has to be, and needed_files has found all of it.
    indexed = any(".safetensors.index." in name for name in names)
    return indexed or all(_parts(name) <= names for name in names)


def _parts(name: str) -> set[str]:
    """All names of a file in numbered parts, "…-00001-of-00003.gguf"; its own name otherwise."""
    stem, of, rest = name.rpartition("-of-")
    total, _, ending = rest.partition(".")
    if not of or not total.isdigit() or not stem[-5:].isdigit():
        return {name}
    return {f"{stem[:-5]}{i:05d}-of-{total}.{ending}" for i in range(1, int(total) + 1)}
