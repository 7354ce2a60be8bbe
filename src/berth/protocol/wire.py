"""Framing on a stream socket: four bytes of big-endian length, then one msgpack message.

Both ends share these codecs; each reads in its own way (asyncio in the server, a thread in the
engine).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

from berth.protocol.messages import FromEngine, ToEngine

# A frame holds at most one step's deltas or one prompt; anything longer is a broken peer.
MAX_FRAME_BYTES = 256 * 1024 * 1024

_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()
decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine = msgspec.msgpack.Decoder(FromEngine).decode


class ProtocolError(Exception):
    """The peer sent bytes that are no frame of this protocol."""


def frame(message: ToEngine | FromEngine) -> bytes:
    """Encode one message with its length prefix."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into message bodies. Feed it what arrived; iterate what is complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterable[bytes | memoryview]:
        """Each complete body, in order; the rest is kept for the next call.

        Raises:
            ProtocolError: a length prefix above MAX_FRAME_BYTES.
        """
        # As nearly always: one whole frame, and nothing before it.
        if not self._buffer and len(data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data)
            if length == len(data) - _LENGTH.size <= MAX_FRAME_BYTES:
                return (memoryview(data)[_LENGTH.size :],)
        return self._cut(data)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(buffer, start)
                if length > MAX_FRAME_BYTES:
                    raise ProtocolError(f"frame of {length} bytes exceeds {MAX_FRAME_BYTES}")
                end = start + _LENGTH.size + length
                if len(buffer) < end:
                    break
                body = bytes(buffer[start + _LENGTH.size : end])
                start = end
                yield body
        finally:
            del buffer[:start]
