"""One model on two engines: the native one for everything that it computes, Hugging Face's
generate for the parameters that only it has (beams, forced tokens, n-gram bans …).

Which one answered cannot be told from the answer. The second engine takes the model's memory a
second time, so it is started by the first request that needs it, and then kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from berth.protocol.messages import EngineStats, Ready
from berth.serving.errors import EngineFailed, TimedOut, Unavailable
from berth.serving.generation import ModelGeneration
from berth.serving.model_service import ModelService
from berth.serving.observer import NullObserver, Observer, RequestRecord
from berth.serving.open_model import ServingConfig
from berth.serving.request import PLAINLY, ChatOptions, Message, Options
from berth.serving.service import Health

log = logging.getLogger("berth.serving")

_LOOK_SECONDS = 0.05


class TwoEngines:
    """Implements `Service`. Made and used on one event loop."""

    def __init__(
        self, native: ServingConfig, generating: ServingConfig, observer: Observer | None = None
    ) -> None:
        self._observer = observer or NullObserver()
        self._native = ModelService(native, self._observer)
        self._generating = generating
        self._second: ModelService | None = None
        self._draining = False
        self.model_id = native.model_id
        self.created = native.created

    @property
    def max_model_len(self) -> int:
        """Of the native engine, tokens of prompt and output together."""
        return self._native.max_model_len

    def start(self) -> None:
        """Start the native engine; returns at once."""
        self._native.start()

    async def drain(self, grace: float) -> None:
        """Admit nothing more, give running requests `grace` seconds, then stop both engines."""
        self._draining = True
        both = [self._native] if self._second is None else [self._native, self._second]
        await asyncio.gather(*(service.drain(grace) for service in both))

    async def failed(self) -> None:
        """Return when the native engine cannot run, and is not started again."""
        await self._native.failed()

    def health(self) -> Health:
        """The native engine's: without the second one nearly everything is still answered."""
        return self._native.health()

    @property
    def vocab_size(self) -> int:
        """See `Service`."""
        return self._native.vocab_size

    @property
    def generates(self) -> bool:
        """See `Service`. The second engine does, started or not."""
        return True

    @property
    def template_variables(self) -> frozenset[str]:
        return self._native.template_variables

    @property
    def template_roles(self) -> frozenset[str]:
        """See `Service`."""
        return self._native.template_roles

    def render_chat(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> list[int]:
        """See `Service`."""
        return self._native.render_chat(messages, options)

    def encode(self, text: str) -> list[int]:
        """See `Service`."""
        return self._native.encode(text)

    async def prepare(self, options: Options) -> None:
        """Where a request needs generate, wait until that engine answers.

        Raises:
            Unavailable: the server is shutting down.
            TimedOut: the engine did not start within the request's own time.
            EngineFailed: it cannot start.
        """
        if options.generate is None:
            return
        if self._draining:
            raise Unavailable("The server is shutting down.", retry_after=5.0)
        if self._second is None:
            log.info("a request needs generate: starting the transformers engine beside the native")
            self._second = ModelService(self._generating, _RequestsOnly(self._observer))
            self._second.start()
        second = self._second
        timeout = options.timeout or self._generating.request_timeout
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not second.health().ready:
            if second.health().state == "failed":
                raise EngineFailed("The engine for generate's parameters cannot run.")
            if loop.time() > deadline:
                raise TimedOut(f"The engine for generate did not start within {timeout:g} s.")
            await asyncio.sleep(_LOOK_SECONDS)

    def submit(
        self, prompt: Sequence[int], options: Options, *, request_id: str
    ) -> ModelGeneration:
        """See `Service`. Requests with generate's parameters have awaited `prepare`."""
        if options.generate is None:
            return self._native.submit(prompt, options, request_id=request_id)
        if self._second is None:
            raise Unavailable("The engine for generate's parameters is not started.")
        return self._second.submit(prompt, options, request_id=request_id)


class _RequestsOnly:
    """Passes on what becomes of requests; the gauges of engines stay the native one's."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def request_started(self, prompt_tokens: int) -> None:
        self._observer.request_started(prompt_tokens)

    def request_finished(self, record: RequestRecord) -> None:
        self._observer.request_finished(record)

    def step(
        self, stats: EngineStats, tokens: int, first_tokens: Sequence[float], gaps: Sequence[float]
    ) -> None:
        """The second engine's own state is not shown."""

    def engine_ready(self, ready: Ready) -> None:
        """It is no restart of the native one."""

    def engine_died(self, reason: str) -> None:
        self._observer.engine_died(reason)
