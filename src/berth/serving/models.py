"""The models of one server, by name, and the engines that each of them may be answered with.

A dialect asks for a service before it encodes anything: `await models.acquire(name)`. Which process
answers, and whether one has to be started for it first, is decided here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from berth.serving.errors import EngineFailed, ModelNotFound, TimedOut, Unavailable
from berth.serving.service import Health, Service, StartableService

log = logging.getLogger("berth.serving")

# Has a function called when a request is over, however it ends.
AtEnd = Callable[[Callable[[], None]], object]

_MOST_SHOWN = 128  # characters of a name that is not ours


class Model:
    """One model: its service, and how to make one for generate's parameters, if that is possible.

    The second one takes the model's memory a second time. The first request that needs it starts
    it, and then it is kept. An answer does not show which of the two gave it.
    """

    def __init__(
        self, service: StartableService, generating: Callable[[], StartableService] | None = None
    ) -> None:
        self.service = service
        self._make_generating = generating
        self._generating: StartableService | None = None
        self._draining = False
        self._max_waiting: int | None = None  # the services' own

    @property
    def name(self) -> str:
        return self.service.model_id

    def set_max_waiting(self, most: int) -> None:
        """Requests that may wait for each of its engines, from the next request on."""
        self._max_waiting = most
        for service in (self.service, self._generating):
            if service is not None:
                service.set_max_waiting(most)

    @property
    def generates(self) -> bool:
        """Whether requests with GenerateParams are served, at once or after a start."""
        return self._make_generating is not None or self.service.generates

    @property
    def starts_for_generate(self) -> bool:
        """Whether a request with GenerateParams has an engine started, if it is the first."""
        return self._make_generating is not None

    async def acquire(self, *, generate: bool, seconds: float) -> Service:
        """The service for one request, ready to be given prompts.

        Args:
            generate: the request has GenerateParams.
            seconds: that the request may wait for an engine that has to be started.

        Raises:
            Unavailable: the model is being loaded or cannot run, or the server is shutting down.
            TimedOut: an engine that had to be started did not answer in time.
            EngineFailed: it cannot start.
        """
        self.service.check_open()
        if not generate or self._make_generating is None:
            return self.service
        self._refuse_if_draining()
        if self._generating is None:
            log.info("a request needs generate: starting the transformers engine beside the native")
            self._generating = self._make_generating()
            if self._max_waiting is not None:
                self._generating.set_max_waiting(self._max_waiting)
            self._generating.start()
        try:
            async with asyncio.timeout(seconds):
                await self._generating.settled()
        except TimeoutError:
            raise TimedOut(f"The engine for generate did not start within {seconds:g} s.") from None
        if self._generating.health().state == "failed":
            raise EngineFailed("The engine for generate's parameters cannot run.")
        self._refuse_if_draining()
        return self._generating

    def _refuse_if_draining(self) -> None:
        if self._draining:
            raise Unavailable("The server is shutting down.", retry_after=5.0)

    async def drain(self, grace: float) -> None:
        """Admit nothing more, give running requests `grace` seconds, then stop every engine."""
        self._draining = True
        running = [self.service] if self._generating is None else [self.service, self._generating]
        await asyncio.gather(*(service.drain(grace) for service in running))


class Models:
    """All models of a server. Made and used on one event loop."""

    def __init__(
        self, models: Sequence[Model], aliases: Sequence[str] | Mapping[str, str] = ()
    ) -> None:
        """
        Args:
            models: at least one. The first answers requests that name none.
            aliases: as `set_aliases` takes them.
        """
        self._models = {model.name: model for model in models}
        self.default = models[0]
        self.set_aliases(aliases)

    def set_aliases(self, aliases: Iterable[str] | Mapping[str, str]) -> None:
        """Further names of the first model, or each with the name of its model; all of them.

        Raises KeyError for a model that there is not.
        """
        if isinstance(aliases, Mapping):
            self._aliases = {alias: self._models[name] for alias, name in aliases.items()}
        else:
            self._aliases = dict.fromkeys(aliases, self.default)

    @property
    def own_names(self) -> tuple[str, ...]:
        """The models' names, without aliases."""
        return tuple(self._models)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that a request may give, the models' own before the aliases."""
        return (*self._models, *self._aliases)

    def names_of(self, model: Model) -> tuple[str, ...]:
        """The names that a request may give for one model, its own first."""
        return (model.name, *(name for name, of in self._aliases.items() if of is model))

    @property
    def max_model_len(self) -> int:
        """The longest context of all models, in tokens; 0 while none is known."""
        return max(model.service.max_model_len for model in self._models.values())

    def get(self, name: str | None = None) -> Model:
        """The model of a name or an alias; the first one for none. Raises ModelNotFound."""
        if not name:
            return self.default
        found = self._models.get(name) or self._aliases.get(name)
        if found is None:
            raise ModelNotFound(f"The model `{name[:_MOST_SHOWN]}` does not exist")
        return found

    def waits(self, name: str | None = None, *, generate: bool = False) -> bool:
        """Whether `acquire` may have to wait for an engine. Raises ModelNotFound."""
        return generate and self.get(name).starts_for_generate

    async def acquire(
        self, name: str | None = None, *, generate: bool = False, seconds: float, at_end: AtEnd
    ) -> Service:
        """The service that answers a request for `name`.

        Args:
            generate, seconds: as `Model.acquire` has them.
            at_end: until when the service is used. A server whose models share memory asks for it;
                here they stay.

        Raises: ModelNotFound, and what `Model.acquire` raises.
        """
        return await self.get(name).acquire(generate=generate, seconds=seconds)

    def health(self) -> Health:
        """The first model's: an engine that a request starts later is not waited for."""
        return self.default.service.health()

    def start(self) -> None:
        """Start what is to run from the beginning; returns at once."""
        for model in self._models.values():
            model.service.start()

    async def failed(self) -> None:
        """Return when a model cannot run and is not started again."""
        waiting = [asyncio.ensure_future(m.service.failed()) for m in self._models.values()]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def drain(self, grace: float) -> None:
        """Refuse new requests, give running ones `grace` seconds, and end all engines."""
        await asyncio.gather(*(model.drain(grace) for model in self._models.values()))
