"""The socket between server and engine."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path

import pytest
from helpers import run, until

from berth.protocol.messages import Cancel, FromEngine, Heartbeat, Loading
from berth.protocol.wire import MAX_FRAME_BYTES, FrameReader, decode_to_engine, frame
from berth.serving.engine_link import RankLink


class Owner:
    def __init__(self) -> None:
        self.messages: list[tuple[int | None, FromEngine]] = []
        self.lost: list[str] = []
        self.links: list[RankLink] = []

    def make(self) -> RankLink:
        self.links.append(RankLink(self))
        return self.links[-1]

    def link_message(self, link: RankLink, message: FromEngine) -> None:
        self.messages.append((link.rank, message))

    def link_lost(self, link: RankLink, reason: str) -> None:
        self.lost.append(reason)


async def connected(path: Path, owner: Owner) -> tuple[asyncio.AbstractServer, socket.socket]:
    server = await asyncio.get_running_loop().create_unix_server(owner.make, str(path))
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    await until(lambda: owner.links and owner.links[0].pid)
    return server, peer


def test_messages_cross_in_both_directions_however_they_are_cut(tmp_path: Path) -> None:
    async def main() -> None:
        owner = Owner()
        server, peer = await connected(tmp_path / "s", owner)
        sent: list[FromEngine] = [Loading(1, 0, 9), Heartbeat(1, 5, True), Loading(1, 9, 9)]
        for byte in b"".join(map(frame, sent)):
            peer.send(bytes([byte]))
        await until(lambda: len(owner.messages) == 3)
        assert owner.messages == [(1, message) for message in sent]
        owner.links[0].send(Cancel([7]))
        (body,) = FrameReader().feed(await asyncio.to_thread(peer.recv, 4096))
        assert decode_to_engine(body) == Cancel([7])
        peer.close()
        await until(lambda: owner.lost)
        assert owner.lost == ["closed its connection"]
        owner.links[0].send(Cancel([7]))  # to nobody: nothing happens
        server.close()

    run(main())


def test_the_process_at_the_other_end_is_known(tmp_path: Path) -> None:
    async def main() -> None:
        owner = Owner()
        server, peer = await connected(tmp_path / "s", owner)
        assert owner.links[0].pid == os.getpid()
        peer.close()
        server.close()

    run(main())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(struct.pack(">I", MAX_FRAME_BYTES + 1), id="too long"),
        pytest.param(struct.pack(">I", 3) + b"\xc1\xc1\xc1", id="no msgpack"),
        pytest.param(struct.pack(">I", 1) + b"\x80", id="no message"),
    ],
)
def test_a_peer_that_talks_nonsense_is_cut_off(tmp_path: Path, data: bytes) -> None:
    async def main() -> None:
        owner = Owner()
        server, peer = await connected(tmp_path / "s", owner)
        peer.sendall(data)
        await until(lambda: owner.lost)
        assert owner.lost[0].startswith("sent bytes that are not a message: ")
        assert owner.messages == []
        peer.close()
        server.close()

    run(main())
