"""One model, served: admits requests, keeps each until it is answered, whatever engines do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Sequence
from functools import cached_property

import msgspec

from berth.protocol.messages import Cancel, EngineStats, Ready, StepReport, Submit
from berth.serving.chat_template import ChatPrompt
from berth.serving.check_generate import check_generate
from berth.serving.dialog import known_roles, render
from berth.serving.errors import EngineFailed, Overloaded, ServingError, TimedOut, Unavailable
from berth.serving.generation import ModelGeneration
from berth.serving.observer import NullObserver, Observer, RequestRecord
from berth.serving.open_model import ServingConfig
from berth.serving.output import OutputText
from berth.serving.request import PLAINLY, ChatOptions, Message, Options
from berth.serving.service import Health, State
from berth.serving.supervisor import EngineSupervisor, engine_health
from berth.serving.validate import check_prompt, check_text, sampling_params

log = logging.getLogger("berth.serving")

_RECENT = 64  # finished requests from which the pace is estimated
_MAX_RETRY_AFTER = 60.0
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
        self.max_model_len = config.engine.max_model_len or 0  # 0: not known before ready
        self._config = config
        self._tokenizer = config.tokenizer
        self._observer: Observer = observer or NullObserver()
        self._supervisor = EngineSupervisor(config.launch, config.engine, self)
        self._ready: Ready | None = None
        self._engine_up = False
        self._draining = False
        self._active: dict[int, ModelGeneration] = {}
        self._next_number = 1
        self._suspects: deque[ModelGeneration] = deque()  # waiting to be tried one at a time
        self._on_trial: ModelGeneration | None = None
        self._finished_at: deque[float] = deque(maxlen=_RECENT)
        self._idle = asyncio.Event()
        self._idle.set()
        self._last_stats = EngineStats()
        self._past_counters: tuple[int, int, int] | None = None  # of engines that are gone

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

    async def failed(self) -> None:
        """Return when the engine cannot run, and is not started again."""
        await self._supervisor.given_up()

    def stop_admitting(self) -> None:
        """Turn `health` to draining and refuse new requests; running ones go on."""
        self._draining = True

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
        return self._config.template.variables

    @cached_property
    def template_roles(self) -> frozenset[str]:
        """See `Service`."""
        return known_roles(self._config.template)

    def render_chat(self, messages: Sequence[Message], options: ChatOptions = PLAINLY) -> list[int]:
        """See `Service`. May be called in another thread."""
        self._refuse_if_closed()
        for message in messages:
            self._check_text(message.content, "messages")
        return render(self._config.template, messages, options)

    def encode(self, text: str) -> list[int]:
        """See `Service`. May be called in another thread."""
        self._refuse_if_closed()
        self._check_text(text, "prompt")
        return self._tokenizer.encode(text, bos=True)

    def _check_text(self, text: str, field: str) -> None:
        check_text(
            text,
            field,
            max_model_len=self.max_model_len,
            max_token_bytes=self._tokenizer.max_token_bytes,
        )

    async def prepare(self, options: Options) -> None:
        """See `Service`. One engine has nothing to wait for; `submit` refuses what it lacks."""

    def submit(
        self, prompt: Sequence[int], options: Options, *, request_id: str
    ) -> ModelGeneration:
        """See `Service`."""
        ready = self._refuse_if_closed()
        check_prompt(prompt, ready.vocab_size)
        params = sampling_params(
            options,
            prompt_tokens=len(prompt),
            max_model_len=self.max_model_len,
            vocab_size=ready.vocab_size,
            eos_ids=self._tokenizer.eos_ids,
            bad_words=self._spellings(options.bad_words),
        )
        if options.generate is not None:
            check_generate(options, params, ready, prompt_tokens=len(prompt))
        self._refuse_if_full(ready)
        stops = options.stop
        if isinstance(prompt, ChatPrompt):
            stops += prompt.stops
        sequences = options.generate.num_return_sequences if options.generate else 1
        output, *others = (
            OutputText(
                self._tokenizer,
                stops=stops,
                stop_token_ids=params.stop_token_ids,
                min_tokens=params.min_tokens,
                continues_prompt=options.continues_prompt and not options.echo,
                include_stop=options.include_stop_str_in_output,
            )
            for _ in range(sequences)
        )
        generation = ModelGeneration(
            self._next_number,
            request_id,
            prompt,
            params,
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

    def _spellings(self, words: Sequence[str]) -> list[list[int]]:
        """Token ids of words that may not come: at a text's beginning, and after a space."""
        spellings: list[list[int]] = []
        for word in words:
            self._check_text(word, "bad_words")
            alone = self._tokenizer.encode(word, bos=False)
            inside = self._tokenizer.encode(f" {word.lstrip()}", bos=False)
            spellings += [ids for ids in (alone, inside) if ids and ids not in spellings]
        return spellings

    def _refuse_if_closed(self) -> Ready:
        """Refuse while there is no engine to come; while one restarts, requests may queue."""
        if self._draining:
            raise Unavailable("The server is shutting down.", retry_after=5.0)
        if self._supervisor.state == "failed":
            raise Unavailable("The model's engine cannot run; its owner has to look.", 60.0)
        if self._ready is None:
            raise Unavailable("The model is still being loaded.", retry_after=2.0)
        return self._ready

    def _refuse_if_full(self, ready: Ready) -> None:
        limit = ready.max_num_seqs + self._config.max_waiting
        if len(self._active) >= limit:
            raise Overloaded(
                f"The server already has {limit} requests, as many as it takes.",
                retry_after=self._retry_after(),
            )

    def _retry_after(self) -> float:
        """Seconds until a place is likely free: the queue's length at the present pace."""
        if len(self._finished_at) < 2:
            return 1.0
        pace = (self._finished_at[-1] - self._finished_at[0]) / (len(self._finished_at) - 1)
        return min(max(pace * max(self._config.max_waiting, 1) / 2, 1.0), _MAX_RETRY_AFTER)

    def _send(self, generation: ModelGeneration) -> None:
        generation.in_engine = True
        self._supervisor.send(
            Submit(
                request_id=generation.number,
                prompt=list(generation.prompt),
                params=generation.params,
                emitted=generation.emitted,
                generate=generation.generate,
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
        self._finished_at.append(now)
        if generation.in_engine and self._engine_up:
            self._supervisor.send(Cancel([generation.number]))
        self._clear_suspicion(generation)
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
        self._engine_up = True
        self.max_model_len = ready.max_model_len
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
        for generation in list(self._active.values()):
            if generation.suspect:
                self._suspects.append(generation)
            else:
                self._send(generation)
        self._try_next_suspect()

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
                # One answer that cannot be put together must not take the engine with it.
                log.error("request %s: %s in its output", generation.request_id, type(error))
                generation.fail(EngineFailed("The answer could not be put together."))
            if generation is self._on_trial:
                self._clear_suspicion(generation)
        self._last_stats = report.stats
        self._observer.step(self._with_past(report.stats), tokens, first_tokens, gaps)

    def engine_down(self) -> None:
        self._engine_up = False

    def engine_lost(self, reason: str, *, was_ready: bool) -> None:
        self._engine_up = False
        self._past_counters = _counters(self._with_past(self._last_stats))
        self._last_stats = EngineStats()
        self._observer.engine_died(reason)
        self._suspects.clear()
        # Where a suspect ran, it alone is to blame, and not those that ran beside it.
        on_trial, self._on_trial = self._on_trial, None
        for generation in list(self._active.values()):
            if not generation.in_engine:
                continue
            if self._supervisor.has_begun(generation.number):
                generation.lost_engine(to_blame=on_trial is None or generation is on_trial)
            else:  # it waited there, or was sent to an engine that was dead by then
                generation.in_engine = False

    def engine_given_up(self, reason: str) -> None:
        self._fail_all(EngineFailed("The model's engine cannot run; its owner has to look."))

    def _try_next_suspect(self) -> None:
        while self._on_trial is None and self._suspects:
            generation = self._suspects.popleft()
            if not generation.ended:
                self._on_trial = generation
                self._send(generation)

    def _clear_suspicion(self, generation: ModelGeneration) -> None:
        """It got a token or has ended: whatever kills engines, it is not this one, or not now."""
        if generation is self._on_trial:
            self._on_trial = None
            self._try_next_suspect()

    def _with_past(self, stats: EngineStats) -> EngineStats:
        """Counters over all engines, so that they never go back."""
        if self._past_counters is None:
            return stats
        preemptions, queries, hits = self._past_counters
        return msgspec.structs.replace(
            stats,
            preemptions=stats.preemptions + preemptions,
            prefix_queries=stats.prefix_queries + queries,
            prefix_hits=stats.prefix_hits + hits,
        )


def _counters(stats: EngineStats) -> tuple[int, int, int]:
    return stats.preemptions, stats.prefix_queries, stats.prefix_hits
