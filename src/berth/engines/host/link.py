"""The engine's end of the socket to its supervisor: a reader thread, a heartbeat thread.

Every rank has one. A supervisor that is gone means that this process has nothing to live for:
it exits at once, so that a killed server leaves no engine behind.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from dataclasses import dataclass, field

from berth.protocol.begun import Begun
from berth.protocol.messages import FromEngine, Heartbeat, Shutdown, StepReport, ToEngine
from berth.protocol.wire import FrameReader, decode_to_engine, frame

_CHUNK = 1 << 18


@dataclass(slots=True)
class Pulse:
    """What the main thread shows of itself; written by it, read by the heartbeat thread and, what
    is marked as begun, by the server.
    """

    begun: Begun = field(default_factory=Begun.nowhere)
    work: int = 0
    busy: bool = False

    def beat(self) -> None:
        """One more piece of work (a layer, a tensor) is done."""
        self.work += 1


@dataclass(slots=True)
class Link:
    """A connected rank. `inbox` holds what the supervisor sent, in order (rank 0 only)."""

    rank: int
    sock: socket.socket
    pulse: Pulse
    inbox: queue.SimpleQueue[ToEngine] = field(default_factory=queue.SimpleQueue)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _reported: bool = False  # a step, since the last heartbeat was due

    @classmethod
    def connect(cls, path: str, rank: int, heartbeat_seconds: float) -> Link:
        """Connect and start both threads. Raises OSError if no supervisor listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        link = cls(rank, sock, Pulse(Begun.open(path)))
        threading.Thread(target=link._read, name="link-reader", daemon=True).start()
        threading.Thread(
            target=link._beat, args=(heartbeat_seconds,), name="heartbeat", daemon=True
        ).start()
        return link

    def send(self, message: FromEngine) -> None:
        """Send from any thread. Ends the process if the supervisor is gone."""
        data = frame(message)
        try:
            with self._sending:
                self.sock.sendall(data)
        except OSError:
            os._exit(0)
        if isinstance(message, StepReport):
            self._reported = True

    def _read(self) -> None:
        reader = FrameReader()
        while True:
            try:
                data = self.sock.recv(_CHUNK)
            except OSError:
                data = b""
            if not data:
                os._exit(0)
            for body in reader.feed(data):
                message = decode_to_engine(body)
                if self.rank != 0 and isinstance(message, Shutdown):
                    os._exit(0)  # its main thread may wait in a collective for ever
                self.inbox.put(message)

    def _beat(self, seconds: float) -> None:
        pause = threading.Event()
        while True:
            # A report says as much, and waking the supervisor takes CPU from the tokens.
            if not self._reported:
                self.send(Heartbeat(self.rank, self.pulse.work, self.pulse.busy))
            self._reported = False
            pause.wait(seconds)
