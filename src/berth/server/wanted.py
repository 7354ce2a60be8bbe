"""Work for one HTTP call: within the call's time, and only while its client is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from berth.server.errors import ClientGone
from berth.serving.errors import TimedOut

T = TypeVar("T")


async def while_wanted(
    limit: float, started: float, receive: Receive, work: Coroutine[Any, Any, T]
) -> T:
    """The result of `work`, unless the client hangs up or the call's time is over first.

    Args:
        limit: seconds that the call may take.
        started: when it began, as `time.perf_counter` says it.
        receive: the call's; its body was read before.

    Raises: ClientGone, TimedOut, and what `work` raises.
    """
    left = started + limit - time.perf_counter()
    worker = asyncio.create_task(work)
    watcher = asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait((worker, watcher), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            return worker.result()
        if watcher.done():
            raise ClientGone
        raise TimedOut(f"The request took longer than {limit:g} seconds and was cancelled.")
    finally:
        worker.cancel()
        watcher.cancel()
        await asyncio.gather(worker, watcher, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
