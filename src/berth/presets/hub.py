"""Weights from a Hugging Face hub or a mirror of one, into huggingface_hub's own cache.

Every file of one pull is of one commit, whatever happens to the branch meanwhile. A connection
that breaks goes on where it broke; files that are complete are not fetched again. Each file of
large-file storage is held against the hub's SHA-256.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
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

from berth.presets.hub_cache import HubSettings, local_copy, model_path, note_absent, note_revision
from berth.presets.hub_files import chosen, folder_of, names_in
from berth.presets.source import HubFile, PullError, Source
from berth.presets.weight_choice import Read, is_weights

__all__ = ["HubSettings", "Pulled", "local_copy", "pull"]

_GIB = 2**30
_MARGIN = 256 * 2**20  # bytes that should stay free beside what is pulled
# What the HTTP library raises, whichever one huggingface_hub is built on.
_HTTP_ERROR = cast(type[Exception], HfHubHTTPError.__bases__[0])
# A file whose transfer fails for good is tried this often; the library itself resumes in between.
_ATTEMPTS = 3
_WAYS = (
    "give this machine a network, name a mirror (HF_ENDPOINT, or --mirror of berth pull), or pull "
    "it elsewhere and name its folder here"
)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull left on the disk."""

    path: Path  # the model's folder, or its GGUF file
    commit: str
    files: int
    size: int  # bytes
    notes: tuple[str, ...] = ()  # what was left out that a person may look for


def pull(
    source: Source,
    settings: HubSettings | None = None,
    to: Path | None = None,
    *,
    missing_only: bool = False,
) -> Pulled:
    """Download what `source` needs and check it.

    Args:
        to: a plain folder to put the files into, instead of the cache.
        missing_only: take what is there as it is, and hold no checksum against it.

    Raises:
        PullError: it cannot be had; the sentence says why and what to do.
    """
    settings = settings or HubSettings()
    if settings.is_offline:
        raise PullError(
            f"{source} cannot be pulled while HF_HUB_OFFLINE is set; pull it on a machine that has "
            "a network and copy the folder, or name a mirror"
        )
    with _asking_no_other_hub():
        return _pull(source, settings, to, missing_only)


def _pull(source: Source, settings: HubSettings, to: Path | None, missing_only: bool) -> Pulled:
    try:
        with _sentences(source, settings):
            commit, files = _listing(source, settings)
    except _Unreachable as error:
        raise PullError(
            f"{source} is not on this machine and has to be downloaded, but {settings.url} cannot "
            f"be reached ({error.how}): {_WAYS}"
        ) from error.__cause__
    there = to or settings.snapshot(source.hub, commit)
    read = _reader(source, settings, files, commit)
    try:
        needed, weights = chosen(files, source.file, read=read, variant=source.variant)
        if not weights.paths[0].endswith(".gguf"):
            _refuse_mixture(source, files, there, needed, weights.paths, read)
    except _NotRead:
        raise
    except PullError as error:
        raise PullError(f"{source}: {error}") from None
    _check_space(source, settings, needed, there, to)
    if missing_only:
        fetched = [file for file in needed if not (there / file.path).exists()]
    else:
        fetched = needed
    for file in fetched:
        _fetch(source, settings, file, commit, to)
    if to is None:
        note_revision(settings.repository(source.hub), source.revision or "main", commit)
        note_absent(settings, source, commit, [file.path for file in files])
    path = model_path(there, source, needed)
    return Pulled(path, commit, len(needed), sum(f.size for f in needed), weights.notes)


@contextmanager
def _asking_no_other_hub() -> Iterator[None]:
    """Keep huggingface_hub from asking the public hub for anything beside the files.

    For the user agent of its requests 2.4 asks /api/agent-harnesses of HF_ENDPOINT, whichever
    endpoint a call names (utils/_detect_agent.py), unless telemetry is off.
    """
    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before


def _reader(source: Source, settings: HubSettings, files: Sequence[HubFile], commit: str) -> Read:
    """Gives a small file's content; it is fetched once, to a place of its own."""
    known: dict[str, bytes] = {}

    def read(path: str) -> bytes:
        if path not in known:
            file = next(file for file in files if file.path == path)
            try:
                with tempfile.TemporaryDirectory() as folder:
                    known[path] = _fetch(source, settings, file, commit, Path(folder)).read_bytes()
            except PullError as error:
                raise _NotRead(str(error)) from error.__cause__
        return known[path]

    return read


def _refuse_mixture(
    source: Source,
    files: Sequence[HubFile],
    there: Path,
    needed: Sequence[HubFile],
    weights: Sequence[str],
    read: Read,
) -> None:
    """Raises PullError if the place holds other weights, which would be read instead of these."""
    here = [path for path in names_in(there) if is_weights(path) and path not in weights]
    if not here:
        return
    listed = {file.path for file in files}
    folder = folder_of(sorted(listed), source.file)

    def content(path: str) -> bytes:
        return read(path) if path in listed else (there / path).read_bytes()

    together = [HubFile(path, 0) for path in sorted({*here, *(file.path for file in needed)})]
    try:
        _, found = chosen(together, folder or None, read=content)
        if found.paths == tuple(weights):
            return
    except PullError:
        pass  # several sets, and none that is the obvious one
    raise PullError(
        f"{there} holds other weights already ({here[0]}), which would be served in place of "
        f"{weights[0]}; name another place with --to"
    )


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
    there: Path,
    to: Path | None,
) -> None:
    folder = to or settings.cache_folder
    missing = sum(file.size for file in files if not (there / file.path).exists())
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = settings.free_bytes(existing)
    if missing and missing + _MARGIN > free:
        raise PullError(
            f"{source} needs {(missing + _MARGIN) / _GIB:.1f} GiB at {folder}, where "
            f"{free / _GIB:.1f} GiB are free; make room, or name another place with HF_HOME or --to"
        )


class _NotRead(PullError):
    """A small file that the choice depends on cannot be had; the sentence names the source."""


class _Interrupted(PullError):
    """A transfer that broke; trying again may help."""


class _Unreachable(_Interrupted):
    """There is no connection, or it broke."""

    def __init__(self, settings: HubSettings, error: Exception) -> None:
        self.how = type(error).__name__
        super().__init__(
            f"the connection to {settings.url} broke ({self.how}); what is complete is kept: pull "
            "again when there is a network, or from a mirror (HF_ENDPOINT, or --mirror of berth "
            "pull)"
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
