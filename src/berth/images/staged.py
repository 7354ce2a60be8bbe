"""The weights as a build tool can copy them: plain files, and only those that serving needs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from berth.images.weight_files import WeightsMissing, needed_names


@contextmanager
def staged(folder: Path, beside: Path | None = None) -> Iterator[Path]:
    """`folder` itself if it can be copied; otherwise a short-lived one of hard links.

    Hugging Face's cache holds links into another folder, which no build tool follows, and a
    repository may hold the same weights in several formats. Hard links take no space.

    Args:
        beside: a file from elsewhere that belongs to the weights.

    Raises:
        WeightsMissing: the files cannot be copied from where they are; says what to do.
    """
    present = [path for path in folder.rglob("*") if path.is_file()]
    names = needed_names(folder)
    needed = {name: folder / name for name in names}
    if beside is not None:
        needed[beside.name] = beside
    must = beside is not None or any(path.is_symlink() for path in present)
    if len(names) == len(present) and not must and not folder.is_symlink():
        yield folder
        return
    place = (folder / names[0]).resolve().parent.parent
    try:
        holder = tempfile.TemporaryDirectory(prefix=".berth-build-", dir=place)
    except OSError as error:
        if not must:
            yield folder.resolve()
            return
        raise WeightsMissing(_unreachable(folder)) from error
    with holder as name:
        yield _link(folder, needed, Path(name), must=must)


def _link(folder: Path, files: Mapping[str, Path], into: Path, *, must: bool) -> Path:
    for name, file in files.items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.resolve(), target)
        except OSError as error:
            if not must:
                return folder.resolve()
            raise WeightsMissing(_unreachable(folder)) from error
    return into


def _unreachable(folder: Path) -> str:
    return (
        f"the files of {folder} are not all in it (links lead out of it, or the tokeniser lies "
        "beside it), which no build tool follows, and no hard links to them can be made; put them "
        "into one plain folder (berth pull MODEL --to DIR) and name that with --weights DIR"
    )
