"""Whether the bytes of the weights are what they were when written: found out while they load.

Each tensor's checksum is computed by threads of its own, with plain reads: the first reader brings
a file from the disk, and the other finds it in the page cache. `finish` reports what is found,
which the engine awaits before it says that it is ready.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from berth.limits.cpus import cpus
from berth.models.weights.checksums import Beat, crc32_of, digest_of
from berth.models.weights.digests import NAME, DigestError, FileDigest, known_digests
from berth.models.weights.files import TensorFile
from berth.models.weights.source import WeightError
from berth.protocol.config import Verify

log = logging.getLogger(__name__)

_MOST_THREADS = 8
_ARCHIVE = "the zip archive's directory"
_WORDS = {"sha256": "SHA-256", "md5": "MD5", "git": "git blob id", "crc32": "CRC-32"}


@dataclass(frozen=True, slots=True)
class Check:
    """A part of a file, or all of it, and what its checksum should be."""

    tensor: str  # empty: it belongs to no tensor
    path: Path
    start: int
    size: int
    algorithm: str
    value: str
    source: str

    def run(self, beat: Beat | None = None) -> None:
        """Raises WeightError."""
        try:
            if self.algorithm == "crc32":
                found = f"{crc32_of(self.path, self.start, self.size, beat):08x}"
            else:
                found = digest_of(self.path, self.algorithm, beat)
        except OSError as error:
            reason = f"it cannot be read: {error.strerror or error}"
            raise WeightError(self.tensor, self.path.name, reason) from error
        if found != self.value:
            raise WeightError(self.tensor, self.path.name, self._complaint(found))

    def _complaint(self, found: str) -> str:
        what = "its bytes are damaged" if self.tensor else "it is damaged"
        word = _WORDS[self.algorithm]
        advice = "get it anew"
        if self.source == NAME:
            advice += f", or delete {NAME} if it was changed on purpose"
        return f"{what}: {word} {found}, and {self.source} says {self.value}; {advice}"


def checks_for(folder: Path, files: Sequence[TensorFile], mode: Verify) -> list[Check]:
    """What is to be computed for the folder of a model, in the order of the files' bytes.

    Raises:
        WeightError: a file has another length than its digests were made of, or `mode` is full and
            nothing is known of one.
    """
    if mode == "off":
        return []
    try:
        known = known_digests(folder)
    except DigestError as error:
        raise WeightError("", str(error).partition(" ")[0], str(error).partition(" ")[2]) from None
    checks: list[Check] = []
    for name in sorted(known.keys() - {file.path.name for file in files}):
        checks += _beside(folder / name, known[name])
    unknown: list[str] = []
    for file in files:
        found = _of_file(file, known.get(file.path.name))
        if not found and file.stored:
            unknown.append(file.path.name)
        checks += found
    if unknown:
        said = f"no digest is known of {', '.join(unknown)}"
        if mode == "full":
            raise WeightError(
                "", unknown[0], f"{said}, and --verify=full wants one; see berth verify --write"
            )
        log.info("%s: damage to its values would not be noticed", said)
    return checks


def _of_file(file: TensorFile, digest: FileDigest | None) -> list[Check]:
    path, size = file.path, file.path.stat().st_size
    if digest is not None and digest.size not in (None, size):
        raise WeightError(
            "", path.name, f"it has {size} bytes, and {digest.source} says {digest.size}"
        )
    if digest is not None and digest.tensors and digest.header is not None:
        length, crc = digest.header
        checks = [Check("", path, 0, length, "crc32", f"{crc:08x}", digest.source)]
        for stored in file.stored:
            if stored.tensor not in digest.tensors:
                raise WeightError(stored.tensor, path.name, f"{digest.source} does not list it")
            value = f"{digest.tensors[stored.tensor]:08x}"
            checks.append(
                Check(stored.tensor, path, stored.start, stored.size, "crc32", value, digest.source)
            )
        return checks
    if file.stored and all(stored.crc is not None for stored in file.stored):
        return [
            Check(s.tensor, path, s.start, s.size, "crc32", f"{s.crc:08x}", _ARCHIVE)
            for s in file.stored
        ]
    if digest is not None and digest.algorithm:
        return [Check("", path, 0, size, digest.algorithm, digest.value, digest.source)]
    return []


def _beside(path: Path, digest: FileDigest) -> list[Check]:
    """A file without tensors, or one that is not served: a tokeniser, a configuration."""
    if not digest.algorithm or path.suffix in (".safetensors", ".pth", ".bin", ".gguf"):
        return []
    if not path.is_file():
        if digest.source == NAME:
            raise WeightError("", path.name, f"the file is missing, and {NAME} lists it")
        return []  # a list of what a download may have
    size = path.stat().st_size
    return [Check("", path, 0, size, digest.algorithm, digest.value, digest.source)]


def share_of(checks: Sequence[Check], rank: int, ranks: int) -> list[Check]:
    """One rank's part, so that the ranks of a machine together do each check once."""
    total = sum(check.size for check in checks) or 1
    mine, before = [], 0
    for check in checks:
        if min(before * ranks // total, ranks - 1) == rank:
            mine.append(check)
        before += check.size
    return mine


class Verification:
    """Checks that run beside the loading. Leaving the block gives up those that have not begun."""

    def __init__(self, checks: Iterable[Check], threads: int, beat: Beat | None = None) -> None:
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="verify")
        self._running: list[Future[None]] = [self._pool.submit(c.run, beat) for c in checks]

    def finish(self) -> None:
        """Wait for all. Raises WeightError for the first that failed, in the files' order."""
        for running in self._running:
            running.result()

    def __enter__(self) -> Verification:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)


def verification(
    folder: Path, files: Sequence[TensorFile], mode: Verify, beat: Beat | None = None
) -> Verification:
    """Begin to verify this rank's part of a folder, beside its loading. Raises as checks_for."""
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    checks = share_of(checks_for(folder, files, mode), rank, ranks)
    # A CRC is computed as fast as disks read. The digests of whole files are slower, and there a
    # machine with many cores helps.
    slow = any(check.algorithm not in ("crc32", "git") for check in checks)
    threads = min(_MOST_THREADS, cpus().threads(ranks) // 4) if slow else 1
    return Verification(checks, threads, beat)
