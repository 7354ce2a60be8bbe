"""The directory of a .pth, which is a zip archive: where each record is, and its CRC-32.

Read by hand and strictly, because torch looks a record up by its name in the directory and believes
what it finds there: one flipped bit of an offset, a length or a name makes a tensor of other bytes.
So everything that the archive says twice has to agree. What is not said twice, and what is never
read (times, versions, attributes), may be anything.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END64_MARK, _LOCATOR_MARK = b"PK\x06\x06", b"PK\x06\x07"
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_ZIP64 = 1  # tag of the extra field
_DESCRIPTOR = 8  # flag: CRC and sizes follow the data, and need not be in the local header


class Damaged(Exception):
    """The archive contradicts itself; the message is a sentence's end."""

    def __init__(self, reason: str, record: str | None = None) -> None:
        super().__init__(reason)
        self.record = record


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the archive."""

    name: str  # without the archive's own name: "data.pkl", "data/0"
    start: int  # of its bytes, in the file
    size: int
    crc: int

    @property
    def end(self) -> int:
        return self.start + self.size


def read_records(path: Path) -> dict[str, Record]:
    """All records by name, in the order of their bytes.

    Raises:
        Damaged: the directory is not whole, or does not agree with the records.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _records(data)
        except (struct.error, UnicodeDecodeError, IndexError, OverflowError) as error:
            raise Damaged("its zip directory is damaged") from error


def has_checksums(records: dict[str, Record]) -> bool:
    """Whether the writer stored any: torch can leave them out, and writes zeros then."""
    return any(record.crc for record in records.values())


def _records(data: mmap.mmap) -> dict[str, Record]:
    begin, end, count = _directory(data)
    found: list[Record] = []
    at = begin
    while at < end:
        record, at = _entry(data, at, begin)
        found.append(record)
    if at != end or len(found) != count:
        raise Damaged("its zip directory has another length than its end says")
    found.sort(key=lambda record: record.start)
    for record, following in pairwise(found):
        if record.end > following.start:
            raise Damaged("two of its records overlap", record.name)
    prefixes = {record.name.partition("/")[0] for record in found}
    names = [record.name.partition("/")[2] for record in found]
    if len(prefixes) > 1 or len(set(names)) < len(names):
        raise Damaged("the names in its zip directory do not belong together")
    return {
        name: Record(name, record.start, record.size, record.crc)
        for name, record in zip(names, found, strict=True)
    }


def _directory(data: mmap.mmap) -> tuple[int, int, int]:
    """Begin and end of the directory, and how many entries it has."""
    size = len(data)
    tail = data.rfind(_END_MARK, max(0, size - _END.size - _MAX16))
    if tail < 0:
        raise Damaged("its zip directory is lost")
    _, disk, first_disk, here, count, length, offset, comment = _END.unpack_from(data, tail)
    if tail + _END.size + comment != size or disk or first_disk or here != count:
        raise Damaged("the end of its zip directory is damaged")
    end = tail
    locator = tail - _LOCATOR.size
    if locator >= 0 and data[locator : locator + 4] == _LOCATOR_MARK:
        _, _, end, disks = _LOCATOR.unpack_from(data, locator)
        mark, own, _, _, disk, first_disk, here64, count64, length64, offset64 = _END64.unpack_from(
            data, end
        )
        if (
            mark != _END64_MARK
            or end + 12 + own != locator
            or (disk, first_disk, disks) != (0, 0, 1)
            or here64 != count64
            or count not in (count64, _MAX16)
            or length not in (length64, _MAX32)
            or offset not in (offset64, _MAX32)
        ):
            raise Damaged("the end of its zip directory is damaged")
        count, length, offset = count64, length64, offset64
    if offset + length != end:
        raise Damaged("its zip directory is not where its end says")
    return offset, end, count


def _entry(data: mmap.mmap, at: int, limit: int) -> tuple[Record, int]:
    """The record that the directory describes at `at`, and where its next entry begins."""
    (
        mark, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length,
        comment_length, disk, _, _, offset,
    ) = _CENTRAL.unpack_from(data, at)  # fmt: skip
    begin = at + _CENTRAL.size
    raw = data[begin : begin + name_length]
    extra = data[begin + name_length : begin + name_length + extra_length]
    if mark != _CENTRAL_MARK or len(raw) < name_length:
        raise Damaged("its zip directory is damaged")
    name = raw.decode()
    size, packed, offset = _widened(extra, size, packed, offset)
    if method or packed != size or disk not in (0, _MAX16):
        raise Damaged("the zip directory says that it is compressed", name.partition("/")[2])
    start = _start(data, offset, raw, flags, crc, size, name)
    if start + size > limit:
        raise Damaged("it reaches into the zip directory", name.partition("/")[2])
    return Record(name, start, size, crc), begin + name_length + extra_length + comment_length


def _start(
    data: mmap.mmap, offset: int, raw: bytes, flags: int, crc: int, size: int, name: str
) -> int:
    """Where the bytes begin, by the record's own header, which must be that of the directory."""
    mark, _, its_flags, method, _, _, its_crc, packed, its_size, name_length, extra_length = (
        _LOCAL.unpack_from(data, offset)
    )
    begin = offset + _LOCAL.size
    extra = data[begin + name_length : begin + name_length + extra_length]
    its_size, packed, _ = _widened(extra, its_size, packed, 0)
    later = bool(flags & _DESCRIPTOR)
    agrees = (
        mark == _LOCAL_MARK
        and data[begin : begin + name_length] == raw
        and its_flags == flags
        and method == 0
        and (its_crc == crc or (later and its_crc == 0))
        and (its_size == packed == size or (later and its_size == packed == 0))
    )
    if not agrees:
        raise Damaged("its own header and the zip directory do not agree", name.partition("/")[2])
    return int(begin + name_length + extra_length)


def _widened(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """With the 64-bit values of the zip64 extra field in place of those that did not fit."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == _ZIP64:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            size, packed, offset = (
                next(wide, value) if value == _MAX32 else value for value in (size, packed, offset)
            )
        at += 4 + length
    return size, packed, offset
