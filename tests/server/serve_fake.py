"""A process of its own that serves the fake model: python serve_fake.py SCENARIO GRACE_SECONDS.

Prints its port on the first line and "stopped" once the model was told to stop. Scenarios:
"ready"; "loading" (never ready); "broken" (cannot start); "slow" (half a second before each token);
"stuck" (the second token never comes).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_service import LOADING, FakeService

from berth.server.app import create_app
from berth.server.lifecycle import Lifecycle
from berth.server.run import run, serve
from berth.server.settings import ServerSettings
from berth.serving.models import Model, Models


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(scenario: str, grace: float) -> int:
    service = FakeService()
    if scenario == "loading":
        service.state = LOADING
    elif scenario == "slow":
        service.pause = 0.5
    elif scenario == "stuck":
        service.hold_at = 2

    async def start() -> None:
        if scenario == "broken":
            raise RuntimeError("no such folder")
        if scenario == "loading":
            await asyncio.Event().wait()

    async def stop() -> None:
        for generation in service.generations:
            generation.cancel()
        _say("stopped")

    settings = ServerSettings(port=0, grace_seconds=grace, allow_shutdown=True)
    lifecycle = Lifecycle()
    app = create_app(Models([Model(service)]), settings, lifecycle=lifecycle)
    return run(
        serve(
            app,
            settings,
            lifecycle,
            start=start,
            stop=stop,
            on_listening=lambda _, port: _say(str(port)),
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
