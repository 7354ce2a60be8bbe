"""A compressed body, unpacked as it comes: in slices of a few milliseconds, and never beyond what
its reader asks for, so that a small body that unpacks into a huge one costs no more than the limit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from berth.server.errors import Malformed, UnknownEncoding

_SLICE = 1024 * 1024  # bytes unpacked at once: 1 to 4 ms
# A body of gzip may be several in a row. Each costs time and gives perhaps nothing.
_MAX_MEMBERS = 64
_GZIP, _ZLIB, _BARE = 31, zlib.MAX_WBITS, -zlib.MAX_WBITS


def unpacker_of(headers: Iterable[tuple[bytes, bytes]]) -> Unpacker | None:
    """What unpacks the body of a request with these headers; None if it is not packed.

    Raises:
        UnknownEncoding: a Content-Encoding, or several in a row, that is not unpacked here.
    """
    named = [
        word.strip().lower()
        for name, value in headers
        if name == b"content-encoding"
        for word in value.decode("latin-1").split(",")
    ]
    encodings = [name for name in named if name not in ("", "identity")]
    if not encodings:
        return None
    if encodings not in (["gzip"], ["x-gzip"], ["deflate"]):
        shown = ", ".join(encodings)[:80]
        raise UnknownEncoding(
            f'The Content-Encoding "{shown}" is not supported. Send the body uncompressed, or as '
            "gzip or deflate."
        )
    return Unpacker(gzip=encodings[0] != "deflate")


class Unpacker:
    """Unpacks one body."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._start = b""  # of a deflated body, until its format is known
        self._engine = zlib.decompressobj(_GZIP) if gzip else None
        self._members = 1
        self._empty = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks into, in slices. The caller may pause before the next.

        Raises:
            Malformed: it is not what Content-Encoding says.
        """
        self._empty = self._empty and not data
        while data:
            if self._engine is None:
                data = self._start = self._start + data
                if len(data) < 2:
                    return
                self._engine = zlib.decompressobj(_format_of(data))
            elif self._engine.eof:
                data = data.lstrip(b"\0")  # padding
                if not data:
                    return
                self._engine = self._next_member()
            out = b" " * _SLICE
            while len(out) == _SLICE:  # more of it may wait inside, also when all data is taken
                try:
                    out = self._engine.decompress(data, _SLICE)
                except zlib.error:
                    raise self._broken("cannot be unpacked") from None
                yield out
                data = self._engine.unconsumed_tail
            data = self._engine.unused_data

    def finish(self) -> None:
        """Raises Malformed if the body ended too early."""
        if not self._empty and (self._engine is None or not self._engine.eof):
            raise self._broken("ends too early")

    def _next_member(self) -> zlib._Decompress:
        self._members += 1
        if not self._gzip or self._members > _MAX_MEMBERS:
            raise self._broken("goes on after its end")
        return zlib.decompressobj(_GZIP)

    def _broken(self, how: str) -> Malformed:
        name = "gzip" if self._gzip else "deflate"
        return Malformed(
            f"The body's Content-Encoding is {name}, but it {how}.", kind="content_encoding"
        )


def _format_of(data: bytes) -> int:
    """RFC 9110's deflate is in zlib's format, but some clients send it bare."""
    has_header = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return _ZLIB if has_header else _BARE
