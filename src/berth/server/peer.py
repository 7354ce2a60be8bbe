"""Whether the other end of a connection is still there: what the kernel can tell of it."""

from __future__ import annotations

import asyncio
import os
import socket

_CLOSED = 7  # TCP_CLOSE of Linux's TCP_INFO, whose first byte is the state


def notice_dead(transport: asyncio.Transport, seconds: float) -> None:
    """Let the kernel end a connection whose peer vanished, or left its window closed."""
    connection = transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(seconds * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def ask_whether_there(transport: asyncio.Transport) -> bool:
    """Make a peer that closed its socket say so; one that only stopped writing notices nothing.

    Both have sent the same FIN. What is sent to a closed socket is answered with a reset, and an
    urgent byte is no part of the stream that a peer reads. A second one would be: ask once.

    Returns whether `is_gone` will tell. It will not if the kernel knows no urgent bytes
    (gVisor), if it does not show a connection's state (macOS), or if the connection has ended.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as same:
            same.send(b"\0", socket.MSG_OOB | socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass  # it has not read what was sent before, which asks as well
    except OSError:
        return False
    return True


def is_gone(transport: asyncio.Transport) -> bool:
    """Whether the connection is closed on both sides, for all that the kernel knows."""
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSED)
    except OSError:
        return True
