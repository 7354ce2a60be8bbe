"""The Unix socket to which the ranks of one engine connect: frames in, frames out."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Protocol, cast

import msgspec

from berth.protocol.messages import FromEngine, ToEngine
from berth.protocol.wire import FrameReader, ProtocolError, decode_from_engine, frame

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class LinkOwner(Protocol):
    """What listens to the links of one engine."""

    def link_message(self, link: RankLink, message: FromEngine) -> None: ...
    def link_lost(self, link: RankLink, reason: str) -> None: ...


class RankLink(asyncio.Protocol):
    """The connection of one rank. Which rank it is, is known from its first message."""

    def __init__(self, owner: LinkOwner) -> None:
        self._owner = owner
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.problem: str | None = None  # what it sent that is no message
        self.rank: int | None = None
        self.pid: int | None = None  # of the process at the other end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and hasattr(socket, "SO_PEERCRED"):
            raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            self.pid = _CREDENTIALS.unpack(raw)[0]

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                message = decode_from_engine(body)
                if self.rank is None:
                    self.rank = getattr(message, "rank", None)
                self._owner.link_message(self, message)
        except (ProtocolError, msgspec.DecodeError) as error:
            self.problem = f"sent bytes that are not a message: {error}"
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.link_lost(self, self.problem or "closed its connection")

    def send(self, message: ToEngine) -> None:
        """Queue one message; it is dropped if the connection has just been lost."""
        if self._transport is not None:
            self._transport.write(frame(message))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
