"""A further node of a multi-node engine: it keeps its ranks running and answers only probes.

Clients talk to node 0. Here a request would find no scheduler, so there is no route for one.
"""

from __future__ import annotations

from berth.protocol.messages import Ready, StepReport
from berth.server.app import create_worker_app
from berth.server.health import drained
from berth.server.lifecycle import Lifecycle
from berth.server.run import ModelFailed, serve
from berth.server.settings import ServerSettings
from berth.serving.open_model import ServingConfig
from berth.serving.service import EngineState, Health
from berth.serving.supervisor import EngineSupervisor, engine_health

_DETAILS: dict[EngineState, str] = {
    "starting": "This node's ranks are starting.",
    "loading": "This node's ranks are loading their share of the weights.",
    "ready": "This node's ranks work.",
    "restarting": "This node's ranks were lost and are being restarted.",
    "failed": "This node's ranks cannot run.",
}


class WorkerNode:
    """This node's ranks and their supervisor. Implements EngineEvents, and needs none of them."""

    def __init__(self, config: ServingConfig) -> None:
        self._supervisor = EngineSupervisor(config.launch, config.engine, self)

    def engine_ready(self, ready: Ready) -> None:
        """Rank 0 says so, on another node."""

    def engine_step(self, report: StepReport) -> None:
        """Rank 0 reports, on another node."""

    def engine_down(self) -> None:
        """`health` tells."""

    def engine_lost(self, reason: str, *, was_ready: bool) -> None:
        """The supervisor has logged it and starts anew."""

    def engine_given_up(self, reason: str) -> None:
        """`run` hears of it too."""

    def health(self) -> Health:
        """This node's part of the engine."""
        self._supervisor.look()
        state = self._supervisor.state
        return engine_health(self._supervisor, state, _DETAILS[state])

    async def run(self) -> None:
        """Keep the ranks running. Raises ModelFailed if that is hopeless."""
        self._supervisor.start()
        await self._supervisor.given_up()
        raise ModelFailed

    async def stop(self) -> None:
        """End this node's ranks; the others notice and end theirs."""
        await self._supervisor.stop()


async def serve_worker(config: ServingConfig, settings: ServerSettings) -> int:
    """Serve the probes of a worker node until told to end; the process's exit code.

    Raises:
        CannotListen: as `run.serve`.
    """
    node = WorkerNode(config)
    lifecycle = Lifecycle()
    app = create_worker_app(lambda: drained(node.health(), lifecycle.draining))
    return await serve(app, settings, lifecycle, start=node.run, stop=node.stop)
