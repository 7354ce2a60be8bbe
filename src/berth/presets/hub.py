"""Weights from a Hugging Face hub or a mirror of one, into huggingface_hub's own cache.

Every file of one pull is of one commit, whatever happens to the branch meanwhile. A connection
that breaks goes on where it broke; files that are complete are not fetched again. Each file of
large-file storage is held against the hub's SHA-256.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from huggingface_hub import HfApi, constants, get_token, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from berth.presets.hub_files import HubFile, PullError, Source, needed_files

_GIB = 2**30
_MARGIN = 256 * 2**20  # bytes that should stay free beside what is pulled
# What the HTTP library raises, whichever one huggingface_hub is built on.
_HTTP_ERROR = cast(type[Exception], HfHubHTTPError.__bases__[0])
# A file whose transfer fails for good is tried this often; the library itself resumes in between.
_ATTEMPTS = 3


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


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull left on the disk."""

    path: Path  # the model's folder, or its GGUF file
    commit: str
    files: int
    size: int  # bytes


def pull(source: Source, settings: HubSettings | None = None, to: Path | None = None) -> Pulled:
    """Download what `source` needs and check it.

    Args:
        to: a plain folder to put the files into, instead of the cache.

    Raises:
        PullError: it cannot be had; the sentence says why and what to do.
    """
    settings = settings or HubSettings()
    if settings.is_offline:
        raise PullError(
            f"{source} cannot be pulled while HF_HUB_OFFLINE is set; pull it on a machine that has "
            "a network and copy the folder, or name a mirror"
        )
    try:
        with _sentences(source, settings):
            commit, files = _listing(source, settings)
    except _Unreachable as error:
        raise PullError(
            f"{source} is not on this machine and has to be downloaded, but {settings.url} cannot "
            f"be reached ({error.how}): give this machine a network, name a mirror (HF_ENDPOINT, "
            "or --mirror of berth pull), or pull it elsewhere and name its folder here"
        ) from error.__cause__
    try:
        needed = needed_files(files, source.file)
    except PullError as error:
        raise PullError(f"{source}: {error}") from None
    _check_space(source, settings, needed, commit, to)
    paths = [_fetch(source, settings, file, commit, to) for file in needed]
    if to is None:
        _note_revision(settings.repository(source.hub), source.revision or "main", commit)
    return Pulled(_model_path(paths, needed), commit, len(needed), sum(f.size for f in needed))


def _model_path(paths: Sequence[Path], files: Sequence[HubFile]) -> Path:
    """The folder that the files are in; the file itself where it is GGUF, or its first part."""
    if files[0].path.endswith(".gguf"):
        return paths[0]
    depth = files[0].path.count("/")
    return paths[0].parents[depth]


def _listing(source: Source, settings: HubSettings) -> tuple[str, list[HubFile]]:
    """The commit that the revision stands for now, and its files."""
    api = HfApi(endpoint=settings.url, token=settings.token)
    info = api.model_info(source.hub, revision=source.revision, files_metadata=True)
    files = [
        HubFile(sibling.rfilename, sibling.size or 0, sibling.lfs.sha256 if sibling.lfs else None)
        for sibling in info.siblings or []
    ]
    if info.sha is None:
        raise PullError(f"{settings.url} does not say which commit {source} is at")
    return info.sha, files


def _fetch(
    source: Source, settings: HubSettings, file: HubFile, commit: str, to: Path | None
) -> Path:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _sentences(source, settings):
                path = hf_hub_download(
                    source.hub,
                    file.path,
                    revision=commit,
                    cache_dir=settings.cache,
                    local_dir=to,
                    token=settings.token,
                    endpoint=settings.url,
                )
            break
        except _Interrupted as error:
            if attempt == _ATTEMPTS:
                raise PullError(str(error)) from error.__cause__
            time.sleep(settings.pause)
    _verify(source, file, Path(path))
    return Path(path)


def _verify(source: Source, file: HubFile, path: Path) -> None:
    """Compare with the hub's checksum; what differs is deleted, so that it is fetched anew."""
    blob = path.resolve()
    size = blob.stat().st_size
    if file.sha256 is None:
        right = size == file.size
    else:
        with blob.open("rb") as content:
            right = hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
    if not right:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise PullError(
            f"{file.path} of {source} arrived damaged: its checksum is not the hub's. It was "
            "deleted; pull again, from another mirror if it happens twice"
        )


def _check_space(
    source: Source,
    settings: HubSettings,
    files: Sequence[HubFile],
    commit: str,
    to: Path | None,
) -> None:
    folder = to or settings.cache_folder
    there = to or settings.repository(source.hub) / "snapshots" / commit
    missing = sum(file.size for file in files if not (there / file.path).exists())
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = settings.free_bytes(existing)
    if missing and missing + _MARGIN > free:
        raise PullError(
            f"{source} needs {(missing + _MARGIN) / _GIB:.1f} GiB at {folder}, where "
            f"{free / _GIB:.1f} GiB are free; make room, or name another place with HF_HOME or --to"
        )


def _note_revision(repository: Path, revision: str, commit: str) -> None:
    """Write down what a branch stands for, as huggingface_hub's cache has it, for offline use."""
    if revision == commit:
        return
    ref = repository / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    partial = ref.with_name(f"{ref.name}.{os.getpid()}.part")
    partial.write_text(commit)
    partial.replace(ref)


def local_copy(source: Source, settings: HubSettings | None = None) -> Path | None:
    """Where `source` is complete on this machine; None where it is not. Asks no network."""
    settings = settings or HubSettings()
    repository = settings.repository(source.hub)
    revision = source.revision or "main"
    ref = repository / "refs" / revision
    commit = ref.read_text().strip() if ref.is_file() else revision
    folder = repository / "snapshots" / commit
    if not folder.is_dir():
        return None
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    try:
        needed = needed_files([HubFile(name, 0) for name in names], source.file)
    except PullError:
        return None
    if not _complete(folder, needed):
        return None
    return _model_path([folder / file.path for file in needed], needed)


def _complete(folder: Path, files: Sequence[HubFile]) -> bool:
    """Whether no part of the weights is missing, by the index or the parts' own names."""
    names = {file.path for file in files}
    if not names & {"config.json", "params.json"} and not files[0].path.endswith(".gguf"):
        return False
    index = folder / "model.safetensors.index.json"
    if index.is_file() and "model.safetensors" not in names:
        return set(json.loads(index.read_text())["weight_map"].values()) <= names
    return all(_parts(name) <= names for name in names)


def _parts(name: str) -> set[str]:
    """All names of a file in numbered parts, "…-00001-of-00003.gguf"; its own name otherwise."""
    stem, of, rest = name.rpartition("-of-")
    total, _, ending = rest.partition(".")
    if not of or not total.isdigit() or not stem[-5:].isdigit():
        return {name}
    return {f"{stem[:-5]}{i:05d}-of-{total}.{ending}" for i in range(1, int(total) + 1)}


class _Interrupted(PullError):
    """A transfer that broke; trying again may help."""


class _Unreachable(_Interrupted):
    """There is no connection, or it broke."""

    def __init__(self, settings: HubSettings, error: Exception) -> None:
        self.how = type(error).__name__
        super().__init__(
            f"the connection to {settings.url} broke ({self.how}); pull again: what is complete is "
            "kept"
        )


@contextmanager
def _sentences(source: Source, settings: HubSettings) -> Iterator[None]:
    """Turn what the library raises into sentences that say what to do."""
    page = f"{settings.url}/{source.hub}"
    try:
        yield
    except GatedRepoError as error:
        raise PullError(_gated(source, settings, page)) from error
    except RepositoryNotFoundError as error:
        raise PullError(
            f"there is no repository {source.hub} at {settings.url}, or it is private: then set "
            "HF_TOKEN to a token that may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise PullError(
            f"{source.hub} has no revision {source.revision}; it may have been moved or deleted"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _Unreachable(settings, error) from error
    except EntryNotFoundError as error:
        raise PullError(f"a file of {source} is gone from the hub; pull again") from error
    except FileMetadataError as error:
        raise PullError(
            f"{settings.url} does not answer as a Hugging Face hub does: {error}"
        ) from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        kind = _Interrupted if code >= 500 or code == 429 else PullError
        raise kind(f"{settings.url} answered {code} when asked for {source}") from error
    except _HTTP_ERROR as error:
        raise _Unreachable(settings, error) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise PullError(
                f"the disk filled up while {source} was pulled to {settings.cache_folder}; make "
                "room and pull again: what is complete is kept"
            ) from error
        if error.errno is None:  # the library's own, for a file of the wrong length
            raise _Interrupted(f"a file of {source} arrived incomplete; pull again") from error
        raise


def _gated(source: Source, settings: HubSettings, page: str) -> str:
    if settings.token or get_token():
        return (
            f"{source.hub} is gated and the account of this token has no access: accept the "
            f"licence at {page} with it, or use another account's token in HF_TOKEN"
        )
    return (
        f"{source.hub} is gated: accept its licence at {page}, then set HF_TOKEN to a token of "
        "that account"
    )
