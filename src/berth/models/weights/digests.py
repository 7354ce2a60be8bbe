"""What the bytes of a model's files should be, if that is written down anywhere.

Known are, in this order:

- berth-digests.json beside the files, which Berth writes (into images, on berth convert, pull and
  verify): a CRC-32 for each tensor, so that a damaged one can be named;
- FILE.sha256, SHA256SUMS and Meta's checklist.chk beside the files;
- the names that a Hugging Face cache gives its blobs, and the metadata of a folder that was
  downloaded with one: SHA-256 of large files, git's own name of small ones.

They guard against damage, not against an attacker. Imports no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from berth.checkpoint.header_file import read_header
from berth.checkpoint.headers import Header, HeaderError
from berth.models.weights.checksums import Beat, crc32_of

NAME = "berth-digests.json"
_VERSION = 1
_SUMS = {"SHA256SUMS": "sha256", "sha256sums.txt": "sha256", "checklist.chk": "md5"}
_HEX = {64: "sha256", 40: "git", 32: "md5"}
_SUM_LINE = re.compile(r"(?P<digest>[0-9A-Fa-f]+)(?:[ \t]+[*]?(?P<name>\S.*))?")
_MOST_BYTES = 1 << 26  # of a file of digests


class DigestError(Exception):
    """A file of digests cannot be used; the message is a sentence that names it."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What is known of one file. `source` continues "…, and SOURCE says"."""

    source: str
    size: int | None = None  # bytes
    algorithm: str = ""  # of the whole file: "sha256", "md5", "git", "crc32"; "": see `tensors`
    value: str = ""  # in hexadecimal
    header: tuple[int, int] | None = None  # length and CRC-32 of what precedes the tensors
    tensors: Mapping[str, int] = field(default_factory=dict)  # CRC-32 by name


def known_digests(folder: Path) -> dict[str, FileDigest]:
    """All that is known of the files directly in `folder`, by name. Raises DigestError."""
    own = _own(folder)
    if own:
        return own
    found: dict[str, FileDigest] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and (digest := _of_hub(folder, path)) is not None:
            found[path.name] = digest
    return found | _sums(folder)


def make_digests(folder: Path, names: Iterable[str], beat: Beat | None = None) -> dict[str, Any]:
    """The content of berth-digests.json for these files of `folder`.

    Meta's .pth are left out: each keeps the CRC-32 of its tensors itself.

    Raises:
        DigestError: a file is no safetensors file.
        OSError: one cannot be read.
    """
    files: dict[str, Any] = {}
    for name in sorted(names):
        path = folder / name
        if name.endswith(".pth"):
            continue
        entry: dict[str, Any] = {"bytes": path.stat().st_size}
        if name.endswith(".safetensors"):
            header = _header(path)
            start = header.start
            entry["header"] = [start, f"{crc32_of(path, 0, start, beat):08x}"]
            entry["tensors"] = {
                one.name: f"{crc32_of(path, start + one.begin, one.bytes, beat):08x}"
                for one in header.tensors
            }
        else:
            entry["crc32"] = f"{crc32_of(path, beat=beat):08x}"
        files[name] = entry
    return {"version": _VERSION, "files": files}


def write_digests(folder: Path, names: Iterable[str], beat: Beat | None = None) -> Path:
    """Write berth-digests.json into `folder`; its path. Raises as make_digests."""
    content = json.dumps(make_digests(folder, names, beat), indent=1, sort_keys=True) + "\n"
    path = folder / NAME
    partial = path.with_name(f"{NAME}.part")
    partial.write_text(content)
    partial.replace(path)
    return path


def _own(folder: Path) -> dict[str, FileDigest]:
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(_text(path))
        if content["version"] != _VERSION:
            raise DigestError(
                f"{NAME} is of version {content['version']}, and this Berth reads {_VERSION}; "
                "write it anew with berth verify --write"
            )
        return {name: _own_entry(entry) for name, entry in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DigestError(
            f"{NAME} is damaged ({type(error).__name__}); write it anew from files that are whole, "
            "with berth verify --write"
        ) from None


def _own_entry(entry: Any) -> FileDigest:
    size = int(entry["bytes"])
    if "tensors" not in entry:
        return FileDigest(NAME, size, "crc32", f"{int(entry['crc32'], 16):08x}")
    length, crc = entry["header"]
    tensors = {name: int(value, 16) for name, value in entry["tensors"].items()}
    return FileDigest(NAME, size, header=(int(length), int(crc, 16)), tensors=tensors)


def _of_hub(folder: Path, path: Path) -> FileDigest | None:
    """By the name of a cache's blob, or by the metadata that a download left."""
    if path.is_symlink():
        blob = path.resolve()
        algorithm = _algorithm(blob.name) if blob.parent.name == "blobs" else None
        if algorithm is None:
            return None
        return FileDigest("the hub, whose cache it is from,", None, algorithm, blob.name)
    metadata = folder / ".cache/huggingface/download" / f"{path.name}.metadata"
    if not metadata.is_file():
        return None
    lines = _text(metadata).splitlines()
    if len(lines) < 3 or not _is_number(lines[2]) or path.stat().st_mtime > float(lines[2]) + 1:
        return None  # it was written anew since it was downloaded
    etag = lines[1].strip().strip('"')
    algorithm = _algorithm(etag)
    return None if algorithm is None else FileDigest("the hub", None, algorithm, etag)


def _algorithm(name: str) -> str | None:
    """What a hub's name of a file is; None: no sum that Berth computes."""
    is_hex = re.fullmatch(r"[0-9a-f]+", name) is not None
    algorithm = _HEX.get(len(name)) if is_hex else None
    return algorithm if algorithm in ("sha256", "git") else None


def _sums(folder: Path) -> dict[str, FileDigest]:
    """From files that sha256sum or md5sum wrote."""
    found: dict[str, FileDigest] = {}
    for source, algorithm in _SUMS.items():
        if (folder / source).is_file():
            for line in _text(folder / source).splitlines():
                match = _SUM_LINE.fullmatch(line.strip())
                if match and match["name"] and _HEX.get(len(match["digest"])) == algorithm:
                    name = match["name"].removeprefix("./")
                    value = match["digest"].lower()
                    found[name] = FileDigest(source, None, algorithm, value)
    for path in sorted(folder.glob("*.sha256")):
        match = _SUM_LINE.fullmatch(_text(path).strip())
        if match and len(match["digest"]) == 64:
            value = match["digest"].lower()
            found[path.name.removesuffix(".sha256")] = FileDigest(path.name, None, "sha256", value)
    return found


def _header(path: Path) -> Header:
    try:
        return read_header(path)
    except HeaderError as error:
        raise DigestError(f"{path.name} is no safetensors file: {error}") from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DigestError(f"{path.name} is too large for a file of digests")
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise DigestError(f"{path.name} cannot be read: {error.strerror}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
