"""The app on a real uvicorn, event loop and port, in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop
from fake_service import FakeService

from berth.server.app import create_app
from berth.server.keys import Keys
from berth.server.lifecycle import Lifecycle
from berth.server.metrics import Metrics
from berth.server.run import _config, listen
from berth.server.settings import ServerSettings
from berth.serving.models import Model, Models


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return once the condition holds; fail the test if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


class LiveServer:
    """Serves until the with-block ends."""

    def __init__(
        self, service: FakeService, settings: ServerSettings, keys: Keys | None = None
    ) -> None:
        self.service = service
        self.lifecycle = Lifecycle()
        self.metrics = Metrics()
        app = create_app(
            Models([Model(service)]),
            settings,
            lifecycle=self.lifecycle,
            metrics=self.metrics,
            keys=keys,
        )
        self._listener = listen("127.0.0.1", settings.port)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(_config(app))
        self._thread = threading.Thread(target=self._run)
        self.loop: asyncio.AbstractEventLoop | None = None

    def _run(self) -> None:
        async def main() -> None:
            self.loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._listener])

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    def server_connections(self) -> list[Any]:
        """The connections as the server has them."""
        return list(self._server.server_state.connections)

    def __enter__(self) -> LiveServer:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
