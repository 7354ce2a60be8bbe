"""One model on one engine: keeps each request until it is answered, whatever engines do.

What may come in is admission.py's, what a new engine is given after a death replay.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

import msgspec

from berth.protocol.messages import Cancel, EngineStats, Ready, StepReport, Submit
from berth.serving.admission import Admission
from berth.serving.errors import EngineFailed, ServingError, TimedOut, Unavailable
from berth.serving.generation import ModelGeneration
from berth.serving.observer import Lives, NullObserver, Observer, RequestRecord
from berth.serving.open_model import ServingConfig
from berth.serving.prompt import Prompt
from berth.serving.replay import Replay
from berth.serving.request import PLAINLY, ChatOptions, Message, Options
from berth.serving.service import Health, State
from berth.serving.supervisor import EngineSupervisor, engine_health

log = logging.getLogger("berth.serving")

_DETAILS: dict[State, str] = {
    "starting": "The engine is starting.",
    "loading": "The engine is loading the model's weights.",
    "ready": "The engine answers.",
    "restarting": "The engine was lost and is being restarted.",
    "draining": "The server is shutting down.",
    "failed": "The engine cannot run.",
}


class ModelService:
    """Implements `Service` (and EngineEvents). Made and used on one event loop."""

    def __init__(self, config: ServingConfig, observer: Observer | None = None) -> None:
        self.model_id = config.model_id
        self.created = config.created
        self._config = config
        self._admission = Admission(config)
        self._observer: Observer = observer or NullObserver()
        self._supervisor = EngineSupervisor(config.launch, config.engine, self)
        self._was_ready = False
        self._ready: Ready | None = None
        self._engine_up = False
        self._draining = False
        self._active: dict[int, ModelGeneration] = {}
        self._next_number = 1
        self._replay: Replay[ModelGeneration] = Replay(self._send)
        self._lives = Lives()
        self._idle = asyncio.Event()
        self._idle.set()
        self._settled = asyncio.Event()

    # Life.

    def start(self) -> None:
        """Start the engine; returns at once. `health` tells when it answers."""
        self._supervisor.start()

    async def drain(self, grace: float) -> None:
        """Admit nothing more, give running requests `grace` seconds, then stop the engine."""
        self.stop_admitting()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace)
        if self._active:
            log.warning("%d requests are cut short by the shutdown", len(self._active))
            self._fail_all(Unavailable("The server is shutting down."))
        await self._supervisor.stop()

    async def unload(self) -> None:
        """See `StartableService`."""
        self._fail_all(Unavailable("The model is being unloaded."))
        await self._supervisor.stop()
        self._engine_up, self._ready = False, None
        self._lives.engine_lost()
        self._observer.engine_unloaded(self._lives.step(EngineStats()))
        # What was whole is not read through again at the next load.
        engine = self._config.engine
        if self._was_ready:
            engine = msgspec.structs.replace(engine, verify="off")
        self._supervisor = EngineSupervisor(self._config.launch, engine, self)
        self._replay = Replay(self._send)
        if not self._draining:
            self._settled = asyncio.Event()

    async def settled(self) -> None:
        """See `StartableService`."""
        await self._settled.wait()

    async def failed(self) -> None:
        """Return when the engine cannot run, and is not started again."""
        await self._supervisor.given_up()

    def stop_admitting(self) -> None:
        """Turn `health` to draining and refuse new requests; running ones go on."""
        self._draining = True
        self._settled.set()

    def health(self) -> Health:
        self._supervisor.look()
        state: State = "draining" if self._draining else self._supervisor.state
        return engine_health(self._supervisor, state, _DETAILS[state])

    @property
    def engine(self) -> Ready | None:
        """What the engine said of itself when it last became ready."""
        return self._ready

    def engine_pids(self) -> dict[int, int]:
        """Process ids of the ranks on this node, by rank."""
        return self._supervisor.pids()

    # Requests.

    def set_max_waiting(self, most: int) -> None:
        """See `StartableService`."""
        self._admission.max_waiting = most

    @property
    def max_model_len(self) -> int:
        """See `Service`."""
        return self._admission.max_model_len

    @property
    def vocab_size(self) -> int:
        """See `Service`."""
        return 0 if self._ready is None else self._ready.vocab_size

    @property
    def generates(self) -> bool:
        """See `Service`."""
        return self._ready is not None and self._ready.generates

    @property
    def template_variables(self) -> frozenset[str]:
        """See `Service`."""
        return self._admission.template_variables

    @property
    def template_fields(self) -> frozenset[str]:
        """See `Service`."""
        return self._admission.template_fields

    @property
    def template_roles(self) -> frozenset[str]:
        """See `Service`."""
        return self._admission.template_roles

    def check_open(self) -> None:
        """See `Service`."""
        self._opened()

    def render_chat(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> Prompt:
        """See `Service`. May be called in another thread."""
        self._opened()
        return self._admission.render_chat(messages, options)

    def encode(self, text: str) -> Prompt:
        """See `Service`. May be called in another thread."""
        self._opened()
        return self._admission.encode(text)

    def submit(self, prompt: Prompt, options: Options, *, request_id: str) -> ModelGeneration:
        """See `Service`."""
        admitted = self._admission.admit(prompt, options, self._opened(), len(self._active))
        output, *others = admitted.outputs
        generation = ModelGeneration(
            self._next_number,
            request_id,
            prompt,
            admitted.params,
            output,
            now=time.monotonic(),
            echo=options.echo,
            output_hidden=options.max_tokens == 0,
            on_end=self._ended,
            generate=options.generate,
            others=others,
        )
        self._next_number += 1
        timeout = options.timeout or self._config.request_timeout
        loop = asyncio.get_running_loop()
        generation.timer = loop.call_later(timeout, self._time_out, generation, timeout)
        self._active[generation.number] = generation
        self._idle.clear()
        self._observer.request_started(generation.prompt_tokens)
        if self._engine_up:
            self._send(generation)
        return generation

    def _opened(self) -> Ready:
        """What the engine said when it was ready. Raises Unavailable while there is none to come;
        while one restarts, requests may queue.
        """
        if self._draining:
            raise Unavailable("The server is shutting down.", retry_after=5.0)
        if self._supervisor.state == "failed":
            raise Unavailable("The model's engine cannot run; the server's log says why.", 60.0)
        if self._ready is None:
            raise Unavailable("The model is still being loaded.", retry_after=2.0)
        return self._ready

    def _send(self, generation: ModelGeneration) -> None:
        generation.in_engine = True
        self._supervisor.send(
            Submit(
                request_id=generation.number,
                prompt=generation.prompt.ids,
                params=generation.params,
                emitted=generation.emitted,
                generate=generation.generate,
                root=generation.prompt.root,
            )
        )

    def _time_out(self, generation: ModelGeneration, timeout: float) -> None:
        generation.fail(TimedOut(f"The request ran longer than {timeout:g} s and was cancelled."))

    def _ended(self, generation: ModelGeneration) -> None:
        """A generation has ended, for whatever reason; the engine may not know yet."""
        del self._active[generation.number]
        if not self._active:
            self._idle.set()
        now = time.monotonic()
        self._admission.ended(now)
        if generation.in_engine and self._engine_up:
            self._supervisor.send(Cancel([generation.number]))
        self._replay.cleared(generation)
        record = RequestRecord(
            request_id=generation.request_id,
            prompt_tokens=generation.prompt_tokens,
            output_tokens=generation.output_tokens,
            cached_tokens=generation.cached_tokens,
            finish_reason=None if generation.error else generation.finish_reason,
            error=type(generation.error).__name__ if generation.error else None,
            first_token=generation.first_token,
            total=now - generation.started,
            queued=generation.queued,
            max_tokens=generation.params.max_tokens,
            replays=generation.replays,
        )
        log.info(
            "request %s: %s after %.3f s, %d tokens in, %d out, %d replays",
            record.request_id,
            record.error or record.finish_reason,
            record.total,
            record.prompt_tokens,
            record.output_tokens,
            record.replays,
        )
        self._observer.request_finished(record)

    def _fail_all(self, error: ServingError) -> None:
        for generation in list(self._active.values()):
            generation.fail(error)

    # What the engine says (EngineEvents).

    def engine_ready(self, ready: Ready) -> None:
        self._ready = ready
        self._was_ready = True
        self._engine_up = True
        self._admission.max_model_len = ready.max_model_len
        log.info(
            "engine ready: %s on %s, %s, degree %d, %d tokens of context, loaded in %.1f s",
            ready.architecture,
            ready.device,
            ready.dtype,
            ready.degree,
            ready.max_model_len,
            ready.load_seconds,
        )
        self._observer.engine_ready(ready)
        self._settled.set()
        self._replay.engine_ready(self._active.values())

    def engine_step(self, report: StepReport) -> None:
        now = time.monotonic()
        tokens = 0
        first_tokens: list[float] = []
        gaps: list[float] = []
        for delta in report.deltas:
            generation = self._active.get(delta.request_id)
            if generation is None:  # cancelled, and the engine did not know yet
                continue
            if delta.tokens:
                tokens += len(delta.tokens)
                if generation.first_token is None:
                    generation.first_token = now - generation.started
                    generation.queued = delta.waited
                    first_tokens.append(generation.first_token)
                else:
                    gaps.append((now - generation.last_delta) / len(delta.tokens))
                generation.last_delta = now
            if delta.finish_reason is not None:
                generation.in_engine = False
            try:
                generation.receive(delta)
            except Exception as error:
                # One answer that cannot be put together must not end the engine.
                log.error("request %s: %s in its output", generation.request_id, type(error))
                generation.fail(EngineFailed("The answer could not be put together."))
            self._replay.cleared(generation)
        self._observer.step(self._lives.step(report.stats), tokens, first_tokens, gaps)

    def engine_down(self) -> None:
        self._engine_up = False

    def engine_lost(self, reason: str, *, was_ready: bool) -> None:
        self._engine_up = False
        self._lives.engine_lost()
        self._observer.engine_died(reason)
        self._replay.engine_lost(
            self._active.values(), lambda generation: self._supervisor.has_begun(generation.number)
        )

    def engine_given_up(self, reason: str) -> None:
        self._settled.set()
        self._fail_all(EngineFailed("The model's engine cannot run; the server's log says why."))
